/**
 * The sheet that one draws on, white on black as digits are in most collections, or that shows a picture. It can be turned, and its black and
 * white swapped: one picture is asked in several ways.
 */
import { inkOf } from "./ink.js";

/** Sides of the sheet and of the picture that is sent. */
export const sheetSize = 560;
const sentSize = 280;
/** How much of the picture the larger side of a drawing takes, as in MNIST: 20 of 28. */
const share = 20 / 28;
const thick = 44;
/** Where one draws several things on a sheet. */
const thin = 22;

type Point = readonly [x: number, y: number];
/** Only a drawing is centred. */
type Content = "nothing" | "drawing" | "picture";

export class Sheet {
  readonly #canvas: HTMLCanvasElement;
  readonly #onEmpty: (isEmpty: boolean) => void;
  #colours = { ink: "#fff", paper: "#000" };
  #content: Content = "nothing";
  #isStroke = false;
  /** Counts what was done to the sheet: a picture that is decoded late does not cover what came after it was chosen. */
  #changes = 0;

  /** `onEmpty` is told whether something lies on the sheet. */
  constructor(canvas: HTMLCanvasElement, onEmpty: (isEmpty: boolean) => void) {
    this.#canvas = canvas;
    this.#onEmpty = onEmpty;
    this.clear();
  }

  clear(): void {
    this.#hold("nothing");
    const context = this.#context;
    context.fillStyle = this.#colours.paper;
    context.fillRect(0, 0, sheetSize, sheetSize);
  }

  /** Shows a file. What cannot be decoded leaves the sheet empty: the server says what is wrong with it. */
  async show(file: Blob): Promise<void> {
    const change = ++this.#changes;
    const image = await createImageBitmap(file).catch(() => null);
    if (change !== this.#changes) return;
    this.clear();
    if (image === null) return;
    this.#hold("picture");
    const scale = sheetSize / Math.max(image.width, image.height);
    const [width, height] = [scale * image.width, scale * image.height];
    this.#context.imageSmoothingEnabled = scale < 4;
    this.#context.drawImage(image, (sheetSize - width) / 2, (sheetSize - height) / 2, width, height);
  }

  /** By a quarter. */
  turn(): void {
    const context = this.#context;
    this.#redraw((picture) => {
      context.translate(0, sheetSize);
      context.rotate(-Math.PI / 2);
      context.drawImage(picture, 0, 0);
    });
  }

  /** Swaps black and white. */
  invert(): void {
    const { ink, paper } = this.#colours;
    this.#colours = { ink: paper, paper: ink };
    const context = this.#context;
    this.#redraw(() => {
      context.globalCompositeOperation = "difference";
      context.fillStyle = "#fff";
      context.fillRect(0, 0, sheetSize, sheetSize);
    });
  }

  /** A drawing takes the place of a picture. */
  beginStroke(point: Point, isThick: boolean): void {
    if (this.#content === "picture") this.clear();
    this.#hold("drawing");
    this.#isStroke = true;
    const context = this.#context;
    context.strokeStyle = this.#colours.ink;
    context.lineWidth = isThick ? thick : thin;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...point);
  }

  goOn(point: Point): void {
    if (!this.#isStroke) return;
    this.#context.lineTo(...point);
    this.#context.stroke();
  }

  /** Whether there was a stroke to end. */
  endStroke(): boolean {
    const was = this.#isStroke;
    this.#isStroke = false;
    return was;
  }

  /** What is sent; null if nothing is drawn. `isCentred`: a drawing is sent at the size and in the place of a digit of MNIST. */
  picture(isCentred: boolean): Blob | null {
    if (this.#content === "nothing") return null;
    const sent = isCentred && this.#content === "drawing" ? this.#centred() : this.#whole();
    return sent && pngOf(sent);
  }

  get #context(): CanvasRenderingContext2D {
    return contextOf(this.#canvas);
  }

  #hold(content: Content): void {
    this.#changes++;
    this.#content = content;
    this.#onEmpty(content === "nothing");
  }

  /** Draws the picture again, changed. */
  #redraw(change: (picture: HTMLCanvasElement) => void): void {
    this.#changes++;
    const copy = canvasOf(sheetSize);
    contextOf(copy).drawImage(this.#canvas, 0, 0);
    this.#context.save();
    change(copy);
    this.#context.restore();
  }

  #whole(): HTMLCanvasElement {
    const copy = canvasOf(sentSize);
    contextOf(copy).drawImage(this.#canvas, 0, 0, sentSize, sentSize);
    return copy;
  }

  #centred(): HTMLCanvasElement | null {
    const { paper } = this.#colours;
    const ink = inkOf(this.#context.getImageData(0, 0, sheetSize, sheetSize).data, sheetSize, paper === "#000");
    if (!ink) return null;
    const sheet = canvasOf(sentSize);
    const context = contextOf(sheet);
    const scale = (share * sentSize) / Math.max(ink.width, ink.height);
    context.fillStyle = paper;
    context.fillRect(0, 0, sentSize, sentSize);
    context.translate(sentSize / 2, sentSize / 2);
    context.scale(scale, scale);
    context.drawImage(this.#canvas, -ink.x, -ink.y);
    return sheet;
  }
}

function canvasOf(side: number): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  return canvas;
}

function contextOf(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("This browser draws nothing on a canvas.");
  return context;
}

/** At once, unlike `toBlob`, which waits until the browser is idle: what is drawn or cleared meanwhile stays in order. */
function pngOf(canvas: HTMLCanvasElement): Blob {
  const url = canvas.toDataURL("image/png");
  const bytes = Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (sign) => sign.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}
