// Pictures of the page for the documentation, taken of the page as it is.
import { writeFileSync } from "node:fs";
import { act } from "./page-actions.mjs";

/** The pictures of the README, as the page is now. */
export async function takePictures(browser, url) {
  const page = await browser.open(url);
  const take = async (name, script, theme) => {
    await page.send("Emulation.setDeviceMetricsOverride", {
      width: 1200,
      height: 760,
      deviceScaleFactor: 1,
      mobile: false,
    });
    await act(page, `document.documentElement.dataset.theme = "${theme}"; ${script}`);
    const { data } = await page.send("Page.captureScreenshot", { format: "png" });
    writeFileSync(`docs/${name}.png`, data, "base64");
  };
  await take(
    "page-compare",
    `(await until(() => all(".chip").find((each) => each.textContent.startsWith("plays")), "an example")).click();
    await until(() => texts()[1]?.length > 10, "a stream");
    await until(idle, "its end");
    one(".check input").click();
    await sleep(300);`,
    "light",
  );
  await take(
    "page-adapter",
    `location.hash = "#/adapters?name=plays"; await until(() => one("dialog img.training")?.complete, "a card"); await sleep(300);`,
    "dark",
  );
  await page.close();
}
