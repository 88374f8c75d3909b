// In development the page and the API have one origin, as behind a proxy in production.
const target = process.env.TITLECAST_URL ?? "http://127.0.0.1:8080";

export default { server: { proxy: { "/api": target, "/graphql": { target, ws: true } } } };
