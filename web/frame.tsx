/** What surrounds every view: navigation, the state of the connection, and the question for a key. */
import { Adapters } from "./adapters/adapters.js";
import { generation } from "./client/tasks.js";
import { Compare } from "./compare/compare.js";
import { KeyForm } from "./key-form.js";
import { Load } from "./load/load.js";
import { focusContent } from "./parts/focus.js";
import { Bird, Icon } from "./parts/icon.js";
import { hrefOf, route, type View, views } from "./route.js";
import { connection, notice, server } from "./session.js";
import { basesWithForms, Tasks } from "./tasks/tasks.js";
import { nextTheme, theme } from "./theme.js";
import { Training } from "./training/training.js";

const titles: Readonly<Record<View, string>> = {
  compare: "Compare",
  tasks: "Tasks",
  adapters: "Adapters",
  training: "Training",
  load: "Load",
};

export function Frame() {
  const { state } = connection.value;
  return (
    <>
      <button type="button" class="skip" onClick={focusContent}>
        Skip to the content
      </button>
      <Header />
      <Notices />
      <main id="content" tabIndex={-1}>
        {state === "locked" ? <KeyForm isRefused={connection.value.isRefused} /> : null}
        {state === "locked" || server.value === null ? null : <Content />}
      </main>
    </>
  );
}

function Content() {
  const bases = server.value?.bases ?? null;
  if (bases === null) return <p class="empty">The model is loading. This page continues when it is ready.</p>;
  const { view } = route.value;
  if (view === "adapters") return <Adapters />;
  if (view === "load") return <Load />;
  if (view === "training") return <Training />;
  if (view === "tasks" || !isServed("compare")) return <Tasks />;
  return <Compare />;
}

/** What no base of this server can do is not shown. */
function isServed(view: View): boolean {
  if (view === "compare") return server.value?.bases?.some(({ tasks }) => tasks.includes(generation)) ?? true;
  return view !== "tasks" || basesWithForms().length > 0;
}

function Header() {
  const { view } = route.value;
  return (
    <header class="bar">
      <span class="brand">
        <Bird />
        Lorikeet
      </span>
      <nav aria-label="Views">
        {views.filter(isServed).map((each) => (
          <a key={each} href={hrefOf(each)} aria-current={each === view ? "page" : undefined}>
            {titles[each]}
          </a>
        ))}
      </nav>
      <span class="grow" />
      <ConnectionState />
      <button
        type="button"
        class="icon-button"
        onClick={nextTheme}
        aria-label={`Theme: ${theme.value}`}
        title={`Theme: ${theme.value}`}
      >
        <Icon name={theme.value === "auto" ? "contrast" : theme.value === "light" ? "sun" : "moon"} />
      </button>
    </header>
  );
}

const states = {
  connecting: "Connecting",
  loading: "Loading the model",
  draining: "Shutting down",
  ready: "Connected",
  lost: "Reconnecting",
  locked: "Needs a key",
} as const;

function ConnectionState() {
  const { state } = connection.value;
  return (
    <span class={`state ${state}`} role="status">
      {states[state]}
    </span>
  );
}

function Notices() {
  const { state } = connection.value;
  return (
    <div role="status">
      {state === "lost" ? (
        <p class="notice">The server does not answer. The page keeps trying; what you have typed is kept.</p>
      ) : null}
      {notice.value === null ? null : (
        <p class="notice">
          {notice.value}
          <button type="button" class="quiet" onClick={() => (notice.value = null)}>
            Dismiss
          </button>
        </p>
      )}
    </div>
  );
}
