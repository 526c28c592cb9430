// How much may be said on an Attach stream at once; execution.proto and docs/conformance.md tell the same to others.

/** Largest encoded ExecutionEvent, in bytes: watchers read events in pages, and one must fit well into a page. */
export const EVENT_BYTES = 64 * 1024;
/** Longest text of a console message, in bytes. */
export const CONSOLE_TEXT_BYTES = 8_192;
/** Most events of one batch, and its largest encoding in bytes. */
export const BATCH_EVENTS = 1_024;
export const BATCH_BYTES = 1024 * 1024;
