/** Objects in pictures. */
import { LorikeetError } from "../../../base/errors.js";
import { isObject } from "../../../base/json.js";
import { type Fields, isFloat, labelOf, RowFault, shown } from "../../data/rows.js";
import type { Box } from "../../detection/boxes.js";
import { describePicture, ImageReader, imageInputs } from "../inputs/image-inputs.js";
import { chooseLabels } from "../labels.js";
import { type DetectionTarget, detection, shownObjects } from "../objectives/detection.js";
import type { TaskData } from "../task-data.js";
import { type SetupParts, type TaskGoal, type TaskSetup, widthOf } from "./setup.js";

const example = { image: "street/1.png", objects: [{ box: [10, 20, 60, 90], label: "dog" }] };

export function objectDetection(parts: SetupParts): TaskSetup {
  const { graph, preprocessor, detector } = parts;
  if (preprocessor === null) throw unsupported("has no preprocessor_config.json");
  if (!["logits", "pred_boxes"].every((name) => graph.outputs.some((output) => output.name === name))) {
    throw unsupported("has not both outputs logits and pred_boxes");
  }
  if (detector.scores.kind === "sigmoid") {
    const message =
      "The detector scores each label by itself; only detectors with a class for no object, as DETR and YOLOS have, can be trained.";
    throw new LorikeetError("model_unsupported", message, { param: "--model" });
  }
  const images = new ImageReader(preprocessor, graph);
  return {
    reader: {
      kind: "picture",
      forms: [{ required: ["image", "objects"], example }],
      async read(fields, place) {
        const source = await images.read(fields.image, place);
        const { original } = await source.prepared();
        const target = { objects: objectsOf(fields, original) };
        return { source, target, size: 1, place, sha256: source.sha256 };
      },
    },
    inputs: imageInputs(graph),
    savesHeads: true,
    objective: (data, labels) => detectionGoal(parts, data, labels),
  };
}

const unsupported = (clause: string): LorikeetError =>
  new LorikeetError(
    "model_unsupported",
    `The model ${clause}; detectors of DETR's and YOLOS' kind with a preprocessor are trained.`,
    { param: "--model" },
  );

/** The head has an output more than there are labels: the last is nothing. */
function detectionGoal({ graph, head }: SetupParts, data: TaskData, given: readonly string[] | null): TaskGoal {
  const found = [...data.train, ...data.valid, ...data.test].flatMap(({ target }) =>
    (target as DetectionTarget).objects.map(({ label }) => label),
  );
  const width = widthOf(graph, "logits") - 1;
  const { labels, isFresh } = chooseLabels({ given, base: head.labels, width, found });
  return {
    objective: detection(labels),
    assessment: shownObjects(labels, describePicture),
    labels: given ?? head.labels,
    freshHead: isFresh ? { output: "logits", width: labels.length + 1 } : null,
  };
}

interface PictureSize {
  readonly width: number;
  readonly height: number;
}

/** Throws RowFault. */
function objectsOf({ objects }: Fields, size: PictureSize): DetectionTarget["objects"] {
  if (!Array.isArray(objects)) throw new RowFault(`must have a list as \`objects\`, not ${shown(objects)}`);
  return objects.map((object: unknown, i) => {
    if (!isObject(object))
      throw new RowFault(`must have objects with \`box\` and \`label\` as \`objects\`, not ${shown(object)}`);
    return { label: labelOf(object.label), box: boxOf(object.box, i, size) };
  });
}

/** From pixels of corners to fractions of the picture around the centre. Throws RowFault. */
function boxOf(value: unknown, index: number, { width, height }: PictureSize): Box {
  const list: readonly unknown[] = Array.isArray(value) ? value : [];
  const [left, top, right, bottom] = list.filter(isFloat);
  const fault = (clause: string): RowFault => {
    const found = list.length > 0 && list.length <= 8 ? `[${list.map(shown).join(", ")}]` : shown(value);
    return new RowFault(`has as \`box\` of object ${index + 1} ${found}; ${clause}`);
  };
  if (list.length !== 4 || left === undefined || top === undefined || right === undefined || bottom === undefined)
    throw fault("xmin, ymin, xmax and ymax in pixels are four numbers");
  if (left > right || top > bottom) throw fault("xmin and ymin come first: a box is not x, y, width and height");
  if (left === right || top === bottom) throw fault("which is empty");
  if (left < 0 || top < 0 || right > width || bottom > height)
    throw fault(`which is not inside the picture of ${width} x ${height} pixels`);
  return [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height];
}
