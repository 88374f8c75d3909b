// A document without a browser, in which React's hooks run. Import it before anything of React.

import { setTimeout as delay } from "node:timers/promises";

import { Window } from "happy-dom";

const window = new Window({ url: "http://127.0.0.1/" });
Object.assign(globalThis, { window, document: window.document });
globalThis.navigator ??= window.navigator;
window.HTMLIFrameElement ??= class {}; // React asks whether the focus is in one

const React = await import("react");
const { createRoot } = await import("react-dom/client");
const DEADLINE_MS = 10_000;

/**
 * Runs a hook as a component in strict mode does, beside `Beside`. `now` is what it returned last as shown, `until` waits for that to match.
 */
export function mount(useHook, Beside = () => null) {
  const hook = { now: undefined, error: undefined };
  let wake = () => {};
  function Component() {
    const now = useHook();
    // Not while it renders: strict mode takes effects back once after the first of them, and `useChat` of version 7 stops
    // its chat by that.
    React.useEffect(() => {
      hook.now = now;
      wake();
    });
    return null;
  }
  const root = createRoot(document.createElement("div"), { onUncaughtError: (error) => (hook.error = error) });
  root.render(React.createElement(React.StrictMode, null, React.createElement(Component), React.createElement(Beside)));
  hook.unmount = () => root.unmount();
  hook.until = async (matches, what) => {
    for (const end = Date.now() + DEADLINE_MS; ; ) {
      if (hook.error) throw hook.error;
      const found = hook.now !== undefined && matches(hook.now);
      if (found) return found;
      if (Date.now() > end) throw new Error(`no ${what} within ${DEADLINE_MS} ms: ${JSON.stringify(hook.now)}`);
      await Promise.race([new Promise((resolve) => (wake = resolve)), delay(100)]);
    }
  };
  return hook;
}

export { React };
