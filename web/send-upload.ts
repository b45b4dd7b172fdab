/** Uploads through XMLHttpRequest, the only call of a browser that says how much is sent. */
import type { SendUpload } from "./client/client.js";

export const sendWithProgress: SendUpload = (url, headers, body, onProgress, signal) =>
  new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("PUT", url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded }) => onProgress(loaded);
    request.onloadend = () => resolve({ status: request.status, text: request.responseText });
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
