import type { RemoteThreadListAdapter } from "@assistant-ui/react";
import type { AccessOptions } from "./access.js";

export interface ThreadsOptions extends AccessOptions {
  /** How many threads a page has; 50 by default. */
  pageSize?: number;
  /** How long `generateTitle` waits for the title; 60 s by default. */
  titleMs?: number;
}

/**
 * assistant-ui's list of threads, stored by Titlecast. `initialize` generates an id without a request; pass it to the transport:
 * `titlecastTransport({ conversation: async () => (await aui.threadListItem().initialize()).remoteId })`. `custom` is the
 * conversation's metadata, which are texts; other values are stored as JSON.
 */
export function titlecastThreads(options?: ThreadsOptions): Required<Pick<RemoteThreadListAdapter,
  "list" | "initialize" | "fetch" | "rename" | "archive" | "unarchive" | "delete" | "updateCustom" | "generateTitle">>;
