/** What was chosen in the panel, kept by the browser. */

const KEY = "tracing.panel";

/** @typedef {Record<string, string>} Choices */

/**
 * Return the choices of this tab of the browser, as long as it lives.
 *
 * @param {() => Pick<Storage, "getItem" | "setItem">} storage May be forbidden, and raise.
 */
export function createMemory(storage) {
  /** @returns {Choices} */
  function read() {
    try {
      return JSON.parse(storage().getItem(KEY) ?? "{}") || {};
    } catch {
      return {};
    }
  }

  /** @param {Choices} choices */
  function write(choices) {
    try {
      storage().setItem(KEY, JSON.stringify({ ...read(), ...choices }));
    } catch {
      // Storage is switched off: the choices last as long as the panel.
    }
  }

  return { read, write };
}

/**
 * Return the value of a cookie; empty without one.
 *
 * @param {string} cookies As the document has them.
 * @param {string} name
 */
export function cookieIn(cookies, name) {
  const found = cookies.split("; ").find((part) => part.startsWith(`${name}=`));
  return found ? found.slice(name.length + 1) : "";
}

/**
 * Return the value of a cookie; empty without one, or where cookies are forbidden.
 *
 * @param {string} name
 */
export function readCookie(name) {
  try {
    return cookieIn(document.cookie, name);
  } catch {
    return "";
  }
}

/**
 * Keep a cookie for a year.
 *
 * @param {string} name
 * @param {string} value
 * @param {string} path
 */
export function writeCookie(name, value, path) {
  try {
    // biome-ignore lint/suspicious/noDocumentCookie: The cookie store is not there without HTTPS.
    document.cookie = `${name}=${value}; path=${path}; max-age=31536000; samesite=lax`;
  } catch {
    // Cookies are forbidden: the choice lasts as long as the panel.
  }
}
