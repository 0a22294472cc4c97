// Run inside the page by test_in_chromium.py: what can be read, by everybody, as numbers and lists.
(() => {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const linear = (channel) => (channel / 255 <= 0.04045 ? channel / 255 / 12.92 : ((channel / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);

  function behind(element) {
    for (let one = element; one; one = one.parentElement) {
      const color = channels(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return channels(getComputedStyle(document.documentElement).backgroundColor);
  }

  function isSeen(element) {
    const box = element.getBoundingClientRect();
    const style = getComputedStyle(element);
    if (box.width < 2 || box.height < 2 || style.visibility !== "visible") return false;
    for (let one = element; one; one = one.parentElement) {
      const its = getComputedStyle(one);
      if (its.display === "none" || its.clipPath === "inset(50%)" || Number(its.opacity) === 0) return false;
    }
    return true;
  }

  function texts() {
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = new Set();
    while (walk.nextNode()) if (walk.currentNode.textContent.trim()) found.add(walk.currentNode.parentElement);
    return [...found].filter((one) => !["SCRIPT", "STYLE", "NOSCRIPT", "OPTION"].includes(one.tagName) && isSeen(one));
  }

  window.checks = {
    /** Texts whose contrast is below 4.5, and how many texts there are. */
    contrast() {
      const low = [];
      const all = texts();
      for (const one of all) {
        const [text, back] = [luminance(channels(getComputedStyle(one).color)), luminance(behind(one))];
        const ratio = (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05);
        if (ratio < 4.5) low.push(`${one.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
      }
      return { low, texts: all.length };
    },
    /** By how many pixels the page is wider than its window. */
    tooWide: () => document.documentElement.scrollWidth - window.innerWidth,
    headings: () => [...document.querySelectorAll("h1, h2, h3")].filter(isSeen).map((one) => Number(one.tagName[1])),
    idsTwice() {
      const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
      return ids.filter((id, at) => ids.indexOf(id) !== at);
    },
    tabStopsInGrid: () => document.querySelectorAll("#grid [tabindex='0']").length,
    focus() {
      const one = document.activeElement;
      return { id: one.id, feature: one.dataset.feature ?? null, window: one.dataset.window ?? null, tag: one.tagName };
    },
    /** Whether what has the focus shows it. */
    focusIsSeen() {
      const style = getComputedStyle(document.activeElement);
      const around = getComputedStyle(document.activeElement.closest(".segments") ?? document.activeElement);
      return [style, around].some((one) => one.outlineStyle !== "none" && parseFloat(one.outlineWidth) >= 2);
    },
  };
})();
