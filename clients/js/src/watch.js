// Passes a stream on unchanged while a reply looks at it: neither a bad item nor the upload is noticed by the reader.
import { Decoder } from "./decode.js";

export class Watch {
  #decoder = new Decoder();
  #add;
  #end;

  /** `add` gets the events, `end` once the outcome, the usage and the model. */
  constructor(add, end) {
    this.#add = add;
    this.#end = (outcome) => {
      end(outcome, this.#decoder);
      this.#end = () => {};
    };
  }

  /** A stream of the same chunks, at the pace of its reader. */
  readable(stream) {
    const reader = stream.getReader();
    const pull = async (controller) => {
      const { done, value } = await reader.read().catch((error) => {
        this.#end("failed");
        throw error;
      });
      if (done) {
        this.#whole();
        controller.close();
      } else {
        this.#look(value);
        controller.enqueue(value);
      }
    };
    const cancel = (reason) => {
      this.#end("incomplete");
      return reader.cancel(reason);
    };
    return new ReadableStream({ pull, cancel }, { highWaterMark: 0 });
  }

  async *iterate(items) {
    try {
      for await (const item of items) {
        this.#look(item);
        yield item;
      }
      this.#whole();
    } catch (error) {
      this.#end("failed");
      throw error;
    } finally {
      this.#end("incomplete"); // the reader has left
    }
  }

  /** A stream that ended as streams do may have been cut all the same. */
  #whole() {
    this.#end(this.#decoder.outcome ?? "incomplete");
  }

  #look(item) {
    try {
      for (const event of this.#decoder.feed(item)) this.#add(event);
    } catch {
      // The item is not what it seems. The agent gets it all the same.
    }
  }
}
