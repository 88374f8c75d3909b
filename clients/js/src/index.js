// Titles, live lists and resumable replies for your own agent: one file a concern, nothing here but their names.
export { Titlecast } from "./client.js";
export { TitlecastError } from "./error.js";
