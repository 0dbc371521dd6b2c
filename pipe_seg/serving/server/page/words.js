// What the page says, in two languages.
const WORDS = {
  en: {
    version: "Version", compare: "Compare with", nobody: "nothing", token: "Token", enter: "Enter",
    drop: "Drop frames or a short clip here, or press to choose (JPEG, PNG, BMP, video)",
    threshold: "Claimed from probability", reset: "Model's own", mask: "Mask (PNG)", overlay: "Overlay (PNG)",
    coco: "All frames (COCO)", keys: "Keys: ← → frame, + − threshold, 0 the model's own, C compare",
    other: "Русский", asking: "asking the model: ", waiting: "the model is busy, asking again …", done: "frames: ",
    area: "defect", model: "version ", newest: "in service", at: "from ", refused: "refused: ", silent: "no answer from the server",
    unplayable: "this browser cannot play the clip; turn it into frames, or: python cli.py predict", cut: "only the first frames of the clip: ",
    none: "no version of the model answers yet", unreadable: "not a picture that this browser can show",
  },
  ru: {
    version: "Версия", compare: "Сравнить с", nobody: "ничем", token: "Токен", enter: "Войти",
    drop: "Перетащите сюда кадры или короткий ролик, или нажмите для выбора (JPEG, PNG, BMP, видео)",
    threshold: "Дефект от вероятности", reset: "Порог модели", mask: "Маска (PNG)", overlay: "Наложение (PNG)",
    coco: "Все кадры (COCO)", keys: "Клавиши: ← → кадр, + − порог, 0 порог модели, C сравнение",
    other: "English", asking: "спрашиваем модель: ", waiting: "модель занята, спросим ещё раз …", done: "кадров: ",
    area: "дефект", model: "версия ", newest: "в работе", at: "от ", refused: "отказ: ", silent: "сервер не отвечает",
    unplayable: "браузер не может показать ролик; разбейте его на кадры или: python cli.py predict", cut: "только первые кадры ролика: ",
    none: "ни одна версия модели пока не отвечает", unreadable: "браузер не может показать это изображение",
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
