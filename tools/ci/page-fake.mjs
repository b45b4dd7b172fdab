// A server that only looks like one: the real page over an API of ten thousand adapters whose every text is hostile, and of answers that come
// faster than any model writes them.
import { once } from "node:events";
import { createServer } from "node:http";
import express from "express";
import { WebSocketServer } from "ws";
import { pageHandlers } from "../../dist/src/server/http/page.js";
import { readPageFiles } from "../../dist/src/server/http/page-files.js";

/** Sets `hacked` if any of it is taken for markup. */
export const hostile =
  `<script>window.hacked = 1</script><img src=x onerror="window.hacked = 1"><svg onload="window.hacked = 1">` +
  `<a href="javascript:window.hacked = 1">x</a><style>* { display: none }</style>`;
export const adapterCount = 10_000;

const nameOf = (index) => (index === 0 ? hostile : `adapter-${String(index).padStart(5, "0")}`);

/** Adapters of few requests bring no examples; the first shows its hostile ones. No two bring the same. */
const cardOf = (name) => ({
  ...{ name, ...card },
  examples: name === hostile || name > nameOf(adapterCount - 20) ? card.examples.map((each) => ownOf(each, name)) : [],
});
const ownOf = (example, name) => ({ ...example, text: example.text && `${example.text} ${name}` });

/** One adapter is of the base that has a task. */
const baseOf = (index) => (index === 3 ? "digits" : "base");
const tasksOf = (base) => (base === "digits" ? ["image-classification"] : ["text-generation", "sentence-similarity"]);

const adapterOf = (index) => ({
  ...{
    name: nameOf(index),
    object: "adapter",
    base: baseOf(index),
    tasks: index === 4 ? ["text-classification"] : tasksOf(baseOf(index)),
    digest: `sha256:${index}`,
    weights_digest: `sha256:${index}`,
    rank: 8,
    dora: false,
    modules: 56,
  },
  ...{
    bytes: 1e6 + index,
    source: "store",
    job: null,
    created: 1.7e9,
    tier: "disk",
    pinned: false,
    in_flight: 0,
    last_used: null,
  },
  ...{ counts: { requests: index, prompt_tokens: 0, completion_tokens: 0 }, warnings: [hostile], ignored: [] },
});

const adapters = Array.from({ length: adapterCount }, (_, index) => adapterOf(index));

const parameters = { temperature: null, top_p: null, max_tokens: null };
const card = {
  readme: `# ${hostile}\n\n[x](javascript:window.hacked=1) ![${hostile}](x) **${hostile}** \`${hostile}\`\n\n| ${hostile} |\n| --- |\n| [y](data:text/html,x) |\n\n- ${hostile}\n\n> ${hostile}\n\n\`\`\`html\n${hostile}\n\`\`\`\n\n## Use\n\n${hostile}\n\n\`\`\`sh\n${hostile}\n\`\`\`\n`,
  examples: [
    { title: hostile, text: hostile, picture: null, parameters },
    {
      ...{ title: hostile, text: null, parameters },
      picture: `data:image/svg+xml;base64,${btoa("<svg onload='window.hacked = 1'/>")}`,
    },
  ],
  labels: [hostile],
  target_modules: [hostile],
  training: {
    results: {
      ...{ steps: hostile, validation_loss: 1, base_validation_loss: 2 },
      samples: [{ prompt: hostile, expected: hostile, before: hostile, after: hostile }],
    },
    command: hostile,
    test: { rows: 5, unit: hostile, base_metrics: null, metrics: { [hostile]: 1 } },
    origin: {
      ...{ data: hostile, license: hostile, recipe: hostile, withheld: hostile, commands: [hostile] },
      rows: [
        { input: hostile, output: hostile },
        { input: `data:image/svg+xml;base64,${btoa("<svg onload='window.hacked = 1'/>")}`, output: hostile },
      ],
    },
  },
  chart: `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 4" onload="window.hacked = 1"><script>parent.hacked = 1</script></svg>`,
};

const jobOf = (id, status) => ({
  ...{ id, status, model: "base", created_at: 1.7e9, finished_at: status === "running" ? null : 1.7e9 + 60 },
  ...{ estimated_finish: null, fine_tuned_model: status === "succeeded" ? hostile : null, trained_tokens: 1000 },
  ...{ user_provided_suffix: hostile, training_file: "file-1", validation_file: null, seed: 1, metadata: null },
  ...{ method: { type: "supervised" }, lorikeet: { task: "text-generation", kept: null } },
  error: status === "failed" ? { code: "invalid", message: hostile } : null,
});
const jobs = ["running", "succeeded", "failed"].map((status) => jobOf(`ftjob-${status}`, status));

/** Losses of thirty steps, and what the model answered at the last. */
const eventsOf = Array.from({ length: 30 }, (_, at) => ({
  ...{ id: `event-${at}`, created_at: 1.7e9 + at, level: "info", message: hostile },
  type: at === 29 ? "message" : "metrics",
  data:
    at === 29
      ? { samples: [{ prompt: hostile, expected: hostile, answer: hostile }], step: at }
      : { step: at + 1, total_steps: 1080, train_loss: 5 / (at + 1), valid_loss: 4, learning_rate: 0.001 },
}));

export async function startFake() {
  const app = express();
  const page = pageHandlers(readPageFiles());
  app.use(page.index);
  app.get("/assets/:name", page.asset);
  app.get("/", (_req, res) =>
    res.json({
      instance: "fake",
      permissions: { adapters: true, fine_tuning: true },
      bases: [
        { name: "base", text: true, task: null, tasks: tasksOf("base"), trains: [] },
        { name: "digits", text: false, task: "image-classification", tasks: tasksOf("digits"), trains: [] },
      ],
    }),
  );
  app.get("/ready", (_req, res) => res.json({ status: "ready" }));
  app.get("/metrics", (_req, res) => res.send(`lorikeet_batch_rows_sum ${Date.now()}\nvllm:num_requests_running 1\n`));
  app.get("/v1/models", (_req, res) => {
    const modelOf = ({ name, base, tasks }) => ({ id: name, root: name, parent: base, max_model_len: 8192, tasks });
    res.json({ data: [{ name: "base", base: null, tasks: tasksOf("base"), trains: [] }, ...adapters].map(modelOf) });
  });
  app.get("/v1/fine_tuning/jobs", (_req, res) => res.json({ data: jobs, has_more: false }));
  app.get("/v1/fine_tuning/jobs/:id/events", (req, res) =>
    res.json({ data: req.params.id === "ftjob-failed" ? [] : eventsOf.toReversed(), has_more: false }),
  );
  app.get("/v1/adapters", (_req, res) => res.json({ data: adapters }));
  app.get(["/v1/models/:name/card", "/v1/adapters/:name/card"], (req, res) => res.json(cardOf(req.params.name)));
  app.post(
    ["digits", nameOf(3)].map((name) => `/v1/models/${name}/pipeline/image-classification`),
    (_req, res) =>
      res.json([
        { label: hostile, score: 0.75 },
        { label: "7", score: 0.25 },
      ]),
  );
  app.use((_req, res) =>
    res.status(409).json({ error: { message: hostile, code: "conflict", faults: [hostile, "b"] } }),
  );
  const server = createServer(app).listen(0, "127.0.0.1");
  await once(server, "listening");
  const sockets = new WebSocketServer({ server, handleProtocols: () => "lorikeet" });
  sockets.on("connection", (socket) => {
    socket.on("message", (text) => void answer(socket, JSON.parse(String(text))));
  });
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    stop() {
      sockets.close();
      for (const socket of sockets.clients) socket.terminate();
      server.close();
      server.closeAllConnections();
    },
  };
}

/**
 * Ten tokens a turn, of which the first one is hostile. The base says as many as are asked for and ends lines; what others say is one paragraph
 * of a thousand at most.
 */
async function answer(socket, { id, type, body }) {
  if (type === "cancel") return;
  if (body.model === nameOf(1)) {
    const error = { message: hostile, code: "conflict", faults: [hostile, "b"] };
    socket.send(JSON.stringify({ id, type: "error", error }));
    return;
  }
  const count = body.model === "base" ? body.max_tokens : Math.min(1_000, body.max_tokens);
  for (let token = 0; token < count; token++) {
    const ending = body.model === "base" && token % 97 === 96 ? "\n" : "";
    const text = token === 0 ? hostile : ` word${token % 7}${ending}`;
    const top = { [text]: -0.5, [hostile]: -1, b: -2, c: -3, d: -4 };
    const logprobs = { tokens: [text], token_logprobs: [-0.5], top_logprobs: [top], text_offset: [0] };
    const isLast = token === count - 1;
    const choice = { index: 0, text, logprobs, finish_reason: isLast ? "length" : null };
    socket.send(JSON.stringify({ id, type: "chunk", data: { choices: [choice] } }));
    if (token % 10 === 9) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const usage = { prompt_tokens: 1, completion_tokens: count };
  socket.send(JSON.stringify({ id, type: "done", data: { usage, lorikeet: {} } }));
}
