/** The page's entry. */
import "./style/base.css";
import "./style/frame.css";
import "./style/compare.css";
import "./style/adapters.css";
import "./style/load.css";
import "./style/training.css";
import "./style/tasks.css";
import { render } from "preact";
import { Frame } from "./frame.js";
import { turn } from "./load/history.js";
import { keepFocus } from "./parts/focus.js";
import { watchRoute } from "./route.js";
import { connect } from "./session.js";
import { applyTheme } from "./theme.js";

/** A file that is dropped beside what takes files must not replace the page. */
function refuseDrops(): void {
  const refuse = (event: DragEvent): void => {
    if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "none";
  };
  addEventListener("dragover", refuse);
  addEventListener("drop", refuse);
}

const root = document.getElementById("page");
if (root) {
  applyTheme();
  watchRoute();
  keepFocus();
  refuseDrops();
  render(<Frame />, root);
  void connect();
  void turn();
}
