// What a Titlecast refused, or did not answer. The types are in index.d.ts.
export class TitlecastError extends Error {
  constructor(text, { status, body }) {
    super(`${text}: ${status || "no answer"} ${body.code}${body.message ? `: ${body.message}` : ""}`);
    this.name = "TitlecastError";
    this.status = status;
    this.code = body.code;
    this.detail = body.message;
  }
}
