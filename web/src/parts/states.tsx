// The states of tasks: always a colour with a shape, a letter or a word.
import { stateColour } from "./theme";

export const STATE_TEXT: Record<string, string> = {
  UNSUBMITTED: "recorded, not yet handed to the engine",
  READY: "waiting in the queue",
  RUNNING: "being made",
  COMPLETED: "all files are in the store",
  FAILED: "ended with an error",
  CANCEL_REQUESTED: "about to be cancelled",
  CANCELLED: "cancelled",
  EMPTY: "no image was found; nothing to make",
  LOST: "the engine has forgotten it",
};

/** A patch of a state's colour with its letter; the word stands beside it. */
export function Swatch({ code }: { code: string }) {
  return (
    <span class={`swatch swatch-${code}`} aria-hidden="true">
      {code}
    </span>
  );
}

/** Draw a cell of a state: colour, and a shape or a letter where there is room. */
export function drawState(
  context: CanvasRenderingContext2D,
  code: string,
  x: number,
  y: number,
  width: number,
  height: number,
): void {
  const { fill, ink } = stateColour(code);
  context.fillStyle = fill;
  context.fillRect(x, y, width, height);
  if (code === "E" && width >= 4 && height >= 4) {
    context.strokeStyle = ink;
    const alpha = context.globalAlpha;
    context.globalAlpha = 0.45 * alpha;
    context.lineWidth = 1;
    context.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
    context.globalAlpha = alpha;
  }
  if (width >= 13 && height >= 13) {
    context.fillStyle = ink;
    context.font = `600 ${Math.min(width, height, 16) * 0.66}px ui-sans-serif, system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(code, x + width / 2, y + height / 2 + 0.5);
  } else if (width >= 5 && height >= 5) {
    shape(context, code, ink, x + width / 2, y + height / 2, Math.min(width, height) * 0.28);
  }
}

function shape(context: CanvasRenderingContext2D, code: string, ink: string, x: number, y: number, r: number): void {
  context.strokeStyle = ink;
  context.fillStyle = ink;
  context.lineWidth = Math.max(1, r * 0.6);
  context.beginPath();
  if (code === "F" || code === "L") {
    context.moveTo(x - r, y - r);
    context.lineTo(x + r, y + r);
    context.moveTo(x + r, y - r);
    context.lineTo(x - r, y + r);
    context.stroke();
  } else if (code === "X" || code === "K") {
    context.moveTo(x - r, y);
    context.lineTo(x + r, y);
    context.stroke();
  } else if (code === "R") {
    context.arc(x, y, r, 0, 2 * Math.PI);
    context.fill();
  }
}
