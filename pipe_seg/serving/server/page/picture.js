// Levels to masks, overlays and COCO. At the model's threshold, levels of CLAIMED and above are positive.
export const CLAIMED = 128;
const RED = [255, 48, 36];
const TINT = 0.35;

export function probability(level, threshold) {
  return level < CLAIMED ? (level / CLAIMED) * threshold : threshold + ((level - CLAIMED) / CLAIMED) * (1 - threshold);
}

export async function pixels(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "none" });
  const canvas = sheet(bitmap.width, bitmap.height);
  canvas.getContext("2d", { willReadFrequently: true }).drawImage(bitmap, 0, 0);
  return canvas.getContext("2d").getImageData(0, 0, bitmap.width, bitmap.height);
}

export function sheet(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

export async function levels(blob) {
  const read = await pixels(blob);
  return { width: read.width, height: read.height, values: Uint8Array.from({ length: read.width * read.height }, (_, i) => read.data[4 * i]) };
}

export function claimed(levels, level) {
  const mask = new Uint8Array(levels.values.length);
  let area = 0;
  for (let i = 0; i < mask.length; i++) if (levels.values[i] >= level) { mask[i] = 1; area++; }
  return { mask, share: area / mask.length };
}

export function overlaid(frame, mask) {
  const { width, height } = frame;
  const out = new ImageData(new Uint8ClampedArray(frame.data), width, height);
  const reach = Math.max(1, Math.round(width / 400));
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (!mask[i]) continue;
      const edge = x < reach || y < reach || x >= width - reach || y >= height - reach ||
        !mask[i - reach] || !mask[i + reach] || !mask[i - reach * width] || !mask[i + reach * width];
      const tint = edge ? 1 : TINT;
      for (let c = 0; c < 3; c++) out.data[4 * i + c] = frame.data[4 * i + c] * (1 - tint) + RED[c] * tint;
    }
  }
  return out;
}

export function black(mask, width, height) {
  const out = new ImageData(width, height);
  for (let i = 0; i < mask.length; i++) {
    out.data[4 * i] = out.data[4 * i + 1] = out.data[4 * i + 2] = 255 * mask[i];
    out.data[4 * i + 3] = 255;
  }
  return out;
}

export function png(image) {
  const canvas = sheet(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// COCO's run lengths: down the columns, background first.
export function runs(mask, width, height) {
  const counts = [];
  let value = 0, length = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      if (mask[y * width + x] !== value) { counts.push(length); value = 1 - value; length = 0; }
      length++;
    }
  }
  counts.push(length);
  return counts;
}

export function bounds(mask, width, height) {
  let left = width, top = height, right = -1, bottom = -1;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (!mask[i]) continue;
      left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y);
    }
  }
  return right < 0 ? [0, 0, 0, 0] : [left, top, right - left + 1, bottom - top + 1];
}

export function coco(frames) {
  const images = [], annotations = [];
  for (const [index, { name, mask, width, height }] of frames.entries()) {
    images.push({ id: index + 1, file_name: name, width, height });
    const area = mask.reduce((sum, value) => sum + value, 0);
    if (!area) continue;
    annotations.push({
      id: annotations.length + 1, image_id: index + 1, category_id: 1, area, iscrowd: 1,
      bbox: bounds(mask, width, height), segmentation: { size: [height, width], counts: runs(mask, width, height) },
    });
  }
  return { info: { description: "PipeSeg" }, images, annotations, categories: [{ id: 1, name: "defect" }] };
}
