// Exit code 0 while the server of this container answers GET /health.
const port = process.env.LORIKEET_PORT || "8080";
try {
  const answer = await fetch(`http://127.0.0.1:${port}/health`, { signal: AbortSignal.timeout(2500) });
  process.exit(answer.ok ? 0 : 1);
} catch {
  process.exit(1);
}
