// Extracts frames from a short clip in the browser: one per second, at most MOST.
import { sheet } from "./picture.js";

export const MOST = 60;
const STEP_S = 1;

const event = (target, good, bad) => new Promise((resolve, reject) => {
  target.addEventListener(good, resolve, { once: true });
  target.addEventListener(bad, () => reject(new Error(bad)), { once: true });
});

export async function* frames(file) {
  const video = document.createElement("video");
  video.muted = true;
  video.preload = "auto";
  const address = URL.createObjectURL(file);
  try {
    const loaded = event(video, "loadeddata", "error");
    video.src = address;
    await loaded;
    const number = Math.min(MOST, Math.max(1, Math.ceil(video.duration / STEP_S)));
    for (let index = 0; index < number; index++) {
      if (index) {
        const sought = event(video, "seeked", "error");
        video.currentTime = index * STEP_S;
        await sought;
      }
      const canvas = sheet(video.videoWidth, video.videoHeight);
      canvas.getContext("2d").drawImage(video, 0, 0);
      const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
      const stem = file.name.replace(/\.[^.]*$/, "");
      yield { blob, name: `${stem}_${String(index * STEP_S).padStart(4, "0")}s.jpg`, of: number, cut: video.duration > MOST * STEP_S };
    }
  } finally {
    video.removeAttribute("src");
    URL.revokeObjectURL(address);
  }
}
