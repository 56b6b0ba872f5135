// A canvas that is as large as its box, sharp on every screen, and drawn at most once a frame.
import { useEffect, useRef } from "preact/hooks";
import { effect } from "@preact/signals";
import { painted } from "./theme";

export type Draw = (context: CanvasRenderingContext2D, width: number, height: number) => void;

/**
 * Keep a canvas drawn: `draw` reads signals, and is called again when they change, or the box, or the
 * theme. Returns what asks for another drawing.
 */
export function useCanvas(canvas: { readonly current: HTMLCanvasElement | null }, draw: Draw, key: unknown): () => void {
  const latest = useRef(draw);
  latest.current = draw;
  const ask = useRef<() => void>(() => undefined);
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    let frame = 0;
    const render = (): void => {
      frame = 0;
      paint(element, latest.current);
    };
    const request = (): void => {
      frame ||= requestAnimationFrame(render);
    };
    ask.current = request;
    const stop = effect(() => {
      void painted.value;
      // Which signals the drawing depends on is found out by drawing.
      paint(element, latest.current);
    });
    const observer = new ResizeObserver(request);
    observer.observe(element);
    return () => {
      stop();
      observer.disconnect();
      cancelAnimationFrame(frame);
    };
  }, [key]);
  return () => ask.current();
}

function paint(element: HTMLCanvasElement, draw: Draw): void {
  const { clientWidth: width, clientHeight: height } = element;
  const context = element.getContext("2d");
  if (!context || width === 0 || height === 0) {
    if (context) draw(context, 0, 0);
    return;
  }
  const ratio = Math.min(devicePixelRatio || 1, 3);
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (element.width !== w || element.height !== h) {
    element.width = w;
    element.height = h;
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  draw(context, width, height);
}
