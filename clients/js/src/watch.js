// Passes a stream on unchanged while a reply looks at it: neither a bad item nor the upload is noticed by the reader.
import { Decoder } from "./decode.js";

export class Watch {
  #decoder = new Decoder();
  #add;
  #end;

  /** `add` gets the events, `end` once the outcome, the usage and the model. */
  constructor(add, end) {
    this.#add = add;
    // A stream that ended as streams do may have been cut all the same, and a reader may leave when it has seen the end.
    this.#end = (outcome = this.#decoder.outcome ?? "incomplete") => {
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
      this.#end();
      return reader.cancel(reason);
    };
    return new ReadableStream({ pull, cancel }, { highWaterMark: 0 });
  }

  /** The same items, at the pace of their reader. One that leaves closes the source at once, also before its first item. */
  iterate(items) {
    const source = (items[Symbol.asyncIterator] ?? items[Symbol.iterator]).call(items);
    const next = async (...given) => {
      try {
        const step = await source.next(...given);
        if (step.done) this.#whole();
        else this.#look(step.value);
        return step;
      } catch (error) {
        this.#end("failed");
        throw error;
      }
    };
    const leave = async (value) => {
      this.#end();
      return (await source.return?.(value)) ?? { done: true, value };
    };
    const raise = (error) => leave().then(() => Promise.reject(error));
    return { next, return: leave, throw: raise, [Symbol.asyncIterator]() { return this; } };
  }

  #whole() {
    this.#look("\n"); // bytes may end within their last line
    this.#end();
  }

  #look(item) {
    try {
      for (const event of this.#decoder.feed(item)) this.#add(event);
    } catch {
      // The item is not what it seems. The agent gets it all the same.
    }
  }
}
