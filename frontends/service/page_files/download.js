// A download: fetched with the token, which a link would not send.

import { h } from "/page/dom.js";
import { call } from "/page/service.js";

export async function download(address, name) {
  const blob = await (await call("GET", address)).blob();
  const link = h("a", { href: URL.createObjectURL(blob), download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
