// The server of this page. Addresses are relative, because the first part of the path is secret.

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("tunebench does not answer, so nothing was saved; start it again and open its new address");
  }
  const type = response.headers.get("content-type") ?? "";
  const answer = type.startsWith("application/json") ? await response.json() : { problem: await response.text() };
  if (!response.ok) throw new Error(answer.problem || `tunebench answered ${response.status}`);
  return answer;
}

export const get = (path) => ask(path);

export const post = (path, body = {}) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
