/** What keys mean. */

/** Whether a key comes with Alt, Ctrl or Meta: such combinations are the browser's, as Alt and an arrow for back and forward. */
export const isCombined = ({ altKey, ctrlKey, metaKey }: KeyboardEvent): boolean => altKey || ctrlKey || metaKey;

/** Whether a key in a field of several lines sends the form. */
export const isSend = ({ key, ctrlKey, metaKey }: KeyboardEvent): boolean => key === "Enter" && (ctrlKey || metaKey);
