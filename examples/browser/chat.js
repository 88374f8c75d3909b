// fetch sends a message and reads the reply. EventSource brings the title, and the reply after a cut or a reload.
const { url = "http://127.0.0.1:8080", cookie } = Object.fromEntries(new URLSearchParams(location.search));
const withCredentials = cookie !== undefined; // an EventSource can send no header: a token has to be in a cookie
const credentials = withCredentials ? "include" : "same-origin";
const element = (id) => document.getElementById(id);
let conversation = location.hash.slice(1);

/** The events of a response. A chunk may end anywhere, within a character too. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const read = () => reader.read().catch(() => ({ done: true })); // it broke: an end without a last event
  for (let rest = "", chunk; !(chunk = await read()).done; ) {
    const frames = (rest + chunk.value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const [, data, id] = frame.match(/^data: (.*)\nid: (.*)$/) ?? []; // other frames are signs of life
      if (data) yield { ...JSON.parse(data), id };
    }
  }
}
/** Shows what an event of the reply tells; whether it is the last one. */
function show(event) {
  const isAnew = event.raw_type === "response.created" || event.payload?.recovered === false;
  const before = isAnew ? (event.response_text ?? "") : element("reply").textContent;
  element("reply").textContent = before + (event.text_delta ?? "");
  element("state").textContent = event.is_terminal ? (event.payload?.error ?? "The end.") : "";
  return event.is_terminal;
}
/** An EventSource reconnects and resumes by itself after a disconnect. After a proxy's 503 it closes, so open a new one. */
function follow(path, isLast, wait = 1000, place = "") {
  const from = place ? `${path.split("?")[0]}?after=${place}` : path;
  const source = new EventSource(`${url}/api/v1/conversations/${conversation}/${from}`, { withCredentials });
  source.onmessage = ({ data, lastEventId }) => {
    [wait, place] = [1000, lastEventId];
    if (isLast(JSON.parse(data))) source.close();
  };
  source.onerror = async () => {
    if (source.readyState !== EventSource.CLOSED) return;
    const { status } = await fetch(source.url, { method: "HEAD", credentials }).catch(() => ({ status: 503 }));
    const isOver = status !== 200 && status !== 429 && status < 500; // 204: there is nothing to resume
    isOver || setTimeout(follow, wait, path, isLast, Math.min(2 * wait, 30_000), place);
  };
}
function open(id) {
  location.hash = conversation = id;
  follow("stream", (event) => event.is_terminal || void (element("title").textContent = event.display_name));
}
async function send(message) {
  const body = JSON.stringify({ message, conversation_id: conversation || null });
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(`${url}/api/v1/chat/stream?ids=true`, { method: "POST", headers, credentials, body });
  if (!response.ok) throw new Error((await response.json()).message);
  let last;
  for await (last of events(response)) {
    if (!conversation) open(last.conversation_id);
    if (show(last)) return;
  }
  follow(`reply?after=${last.id}`, show); // it broke, and fetch does not come back by itself
}
element("send").onclick = () => send(element("message").value).catch((e) => (element("state").textContent = e.message));
if (conversation) open(conversation), follow("reply", show);
