// The list of versions in the sidebar: those of versions.json, which lies beside the folders of the versions.

"use strict";

document.addEventListener("DOMContentLoaded", async () => {
  const list = document.querySelector(".geir-versions select");
  const here = new URL(document.documentElement.dataset.content_root, location.href);
  let versions;
  try {
    const answer = await fetch(new URL("../versions.json", here));
    if (!answer.ok) return;
    versions = await answer.json();
  } catch {
    return; // opened as a file, or not published: the list shows this version only
  }
  const folder = here.pathname.split("/").at(-2);
  list.replaceChildren(
    ...versions.map(({ version, latest }) =>
      new Option(latest ? `${version} (latest)` : version, version, false, version === folder)
    )
  );
  list.addEventListener("change", async () => {
    const there = new URL(`../${list.value}/`, here);
    const page = new URL(location.href.slice(here.href.length), there);
    const found = await fetch(page, { method: "HEAD" }).catch(() => null);
    location.href = found?.ok ? page.href : there.href;
  });
});
