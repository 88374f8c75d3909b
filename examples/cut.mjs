// A bad line to the server of TITLECAST_URL: what it sends arrives byte by byte, and the connection breaks within a reply,
// a POST's in its 21st piece and a GET's in its second. Where a page's EventSource would come in first, a proxy's 503 does.
// Prints the address to use instead, each cut, and each 503.
import net from "node:net";
import { setTimeout as pause } from "node:timers/promises";

const { port, hostname } = new URL(process.env.TITLECAST_URL);
const refused = new Set(); // paths
const line = net.createServer(async (client) => {
  const server = net.connect(port, hostname);
  let last, pieces;
  client.setNoDelay().on("error", () => server.destroy());
  client.on("close", () => server.destroy());
  client.on("data", (request) => {
    const [, path] = request.toString("latin1").match(/^GET (\/api[^? ]*)[^]*^accept: text\/event-stream\r\n[^]*^sec-fetch-/im) ?? [];
    if (path && !refused.has(path)) {
      refused.add(path);
      console.log("503", path);
      return client.end("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
    server.write(request);
    [last, pieces] = [request.toString("latin1").startsWith("GET") ? 2 : 21, 0];
  });
  try {
    for await (const bytes of server) {
      pieces += bytes.toString("latin1").match(/"ReplyDelta"|output_text\.delta/g)?.length ?? 0;
      // Where an event has an id, between the two.
      const end = pieces < last ? bytes.length : Math.max(bytes.lastIndexOf("id: "), bytes.length >> 1);
      for (const byte of bytes.subarray(0, end)) {
        await new Promise((sent) => client.write(Uint8Array.of(byte), sent));
        if (byte >= 0x80) await pause(10); // so that no reader gets a whole character
      }
      if (end === bytes.length) continue;
      console.log("cut");
      break;
    }
  } catch {
    // The client has left.
  }
  client.destroySoon();
});
line.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${line.address().port}`));
