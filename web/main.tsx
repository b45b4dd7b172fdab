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

const root = document.getElementById("page");
if (root) {
  applyTheme();
  watchRoute();
  keepFocus();
  render(<Frame />, root);
  void connect();
  void turn();
}
