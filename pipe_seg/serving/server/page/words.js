// The texts of the page, in two languages.
const WORDS = {
  en: {
    version: "Version", compare: "Compare with", nobody: "none", token: "Token", enter: "Enter",
    drop: "Drop frames or a short clip here, or click to choose (JPEG, PNG, BMP, video)",
    threshold: "Probability threshold", reset: "Model's threshold", mask: "Mask (PNG)", overlay: "Overlay (PNG)",
    coco: "All frames (COCO)", keys: "Keys: ← → frame, + − threshold, 0 model's threshold, C compare",
    other: "Русский", asking: "waiting for the model: ", waiting: "the model is busy, retrying …", done: "frames: ",
    area: "defect", model: "version ", newest: "current", at: "from ", refused: "request refused: ", silent: "the server does not respond",
    unplayable: "this browser cannot play the clip; extract its frames, or use: python cli.py predict", cut: "only the first frames of the clip are used: ",
    none: "no version of the model is available yet", unreadable: "this browser cannot read the image",
  },
  ru: {
    version: "Версия", compare: "Сравнить с", nobody: "нет", token: "Токен", enter: "Войти",
    drop: "Перетащите сюда кадры или короткий ролик, или нажмите для выбора (JPEG, PNG, BMP, видео)",
    threshold: "Порог вероятности", reset: "Порог модели", mask: "Маска (PNG)", overlay: "Наложение (PNG)",
    coco: "Все кадры (COCO)", keys: "Клавиши: ← → кадр, + − порог, 0 порог модели, C сравнение",
    other: "English", asking: "ожидание модели: ", waiting: "модель занята, повторяем запрос …", done: "кадров: ",
    area: "дефект", model: "версия ", newest: "текущая", at: "от ", refused: "запрос отклонён: ", silent: "сервер не отвечает",
    unplayable: "браузер не может воспроизвести ролик; извлеките кадры или используйте: python cli.py predict", cut: "взяты только первые кадры ролика: ",
    none: "пока нет доступной версии модели", unreadable: "браузер не может прочитать изображение",
  },
};

let language = navigator.language.startsWith("ru") ? "ru" : "en";

export const word = (name) => WORDS[language][name];

export function turn() { language = language === "en" ? "ru" : "en"; }

export function write() {
  document.documentElement.lang = language;
  for (const place of document.querySelectorAll("[data-word]")) place.textContent = word(place.dataset.word);
  document.getElementById("language").textContent = word("other");
}
