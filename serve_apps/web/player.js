// The player: the media itself where it may be shown, and the boxes that were found, drawn over the frame.

import { h, show } from "./dom.js";
import { request } from "./api.js";
import { boxesAt } from "./tracks.js";

export class Player {
  constructor(onTime) {
    this.onTime = onTime;
    this.found = {};
    this.time = 0;
    this.media = null;
    this.canvas = h("canvas", { class: "boxes", "aria-hidden": "true" });
    this.reason = h("p", { class: "quiet reason" });
    this.stage = h("div", { class: "stage" }, this.reason, this.canvas);
    this.caption = h("p", { class: "visually-hidden", "aria-live": "off" });
    this.element = h("div", { class: "player" }, this.stage, this.caption);
    new ResizeObserver(() => this.draw()).observe(this.stage);
  }

  // Load one media item of an analysis; its address is signed for an hour and renewed when it no longer plays.
  async load(id, index) {
    this.place = { id, index };
    const item = await request(`v1/analyses/${id}/media/${index}`);
    if (this.place.id !== id || this.place.index !== index) return; // another one was picked meanwhile
    show(this.reason, !item.url);
    this.reason.textContent = item.reason ? `It cannot be played here: ${item.reason}.` : "";
    this.stage.classList.toggle("empty", !item.url);
    this.media?.remove();
    this.media = null;
    this.begun = false;
    if (!item.url) return;
    const tag = { video: "video", audio: "audio", image: "img" }[item.media_type.split("/")[0]];
    this.media = h(tag, { src: item.url, controls: tag !== "img", playsinline: true, preload: "metadata", alt: "" });
    this.media.addEventListener("timeupdate", () => this.tick());
    this.media.addEventListener("seeked", () => this.tick());
    this.media.addEventListener("loadeddata", () => this.tick());
    this.media.addEventListener("loadedmetadata", () => this.begin());
    this.media.addEventListener(tag === "img" ? "load" : "loadedmetadata", () => this.fit());
    this.media.addEventListener("error", () => this.failed());
    this.stage.classList.toggle("sound", tag === "audio");
    this.stage.style.aspectRatio = "";
    this.stage.prepend(this.media);
    this.everyFrame();
  }

  // A jump may have come before the media did; until here its own idea of the time, 0, does not count.
  begin() {
    this.begun = true;
    if (this.time) this.media.currentTime = this.time;
    this.onTime(this.time, this.media.duration);
  }

  // The stage takes the picture's shape: no bands above and below it.
  fit() {
    const { media } = this;
    const [width, height] = [media.videoWidth || media.naturalWidth, media.videoHeight || media.naturalHeight];
    if (width && height) this.stage.style.aspectRatio = `${width} / ${height}`;
  }

  failed() {
    this.stage.style.aspectRatio = "";
    this.stage.classList.add("empty");
    show(this.reason, true);
    this.reason.textContent = "This browser cannot play the file; the timeline shows what was found in it.";
    this.media?.remove();
    this.media = null;
    this.begun = false;
  }

  everyFrame() {
    const media = this.media;
    if (!media?.requestVideoFrameCallback) return;
    const next = () => {
      if (this.media !== media) return;
      this.tick();
      media.requestVideoFrameCallback(next);
    };
    media.requestVideoFrameCallback(next);
  }

  tick() {
    if (this.begun && !this.media.seeking) this.time = this.media.currentTime;
    this.draw();
    this.onTime(this.time, this.media?.duration);
  }

  seek(time) {
    this.time = time;
    if (this.begun) this.media.currentTime = time;
    this.onTime(time); // at once: the next key counts from here, while the media still seeks
    this.draw();
  }

  // The found records by analyzer: their boxes are drawn.
  show(found) {
    this.found = found;
    this.draw();
  }

  draw() {
    const boxes = boxesAt(this.found, this.time);
    const { canvas, stage } = this;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = stage.clientWidth * ratio;
    canvas.height = stage.clientHeight * ratio;
    canvas.dataset.boxes = String(boxes.length);
    if (!this.media || !boxes.length) return;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const frame = this.frame();
    for (const box of boxes) drawBox(pen, frame, box, getComputedStyle(stage));
  }

  // Where the picture lies in the stage: it keeps its shape, so bands may be left at two sides.
  frame() {
    const width = this.media.videoWidth || this.media.naturalWidth || 16;
    const height = this.media.videoHeight || this.media.naturalHeight || 9;
    const scale = Math.min(this.stage.clientWidth / width, this.stage.clientHeight / height);
    const [w, h_] = [width * scale, height * scale];
    return { x: (this.stage.clientWidth - w) / 2, y: (this.stage.clientHeight - h_) / 2, width: w, height: h_ };
  }
}

function drawBox(pen, frame, box, style) {
  const x = frame.x + box.box.x * frame.width;
  const y = frame.y + box.box.y * frame.height;
  const colour = style.getPropertyValue(`--${box.analyzer}`) || style.getPropertyValue("--accent");
  const label = box.score === null ? box.text : `${box.text} ${Math.round(box.score * 100)} %`;
  pen.lineWidth = 2;
  pen.strokeStyle = colour;
  pen.strokeRect(x, y, box.box.width * frame.width, box.box.height * frame.height);
  pen.font = "600 12px system-ui, sans-serif";
  const width = pen.measureText(label).width + 10;
  const top = y >= 18 ? y - 18 : y;
  pen.fillStyle = colour;
  pen.fillRect(x - 1, top, width, 18);
  pen.fillStyle = style.getPropertyValue("--on-tone");
  pen.fillText(label, x + 4, top + 13);
}
