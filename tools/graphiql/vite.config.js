import { defineConfig } from 'vite';

export default defineConfig({
  base: './',
  experimental: {
    // The server answers /graphiql without a slash behind it, so the page's own links begin with the folder.
    renderBuiltUrl: (file, { hostType }) => (hostType === 'html' ? `graphiql/${file}` : { relative: true }),
  },
  oxc: { jsx: { runtime: 'automatic' } },
  build: {
    // Monaco is one large chunk; this page is not meant for slow connections.
    chunkSizeWarningLimit: 8192,
    rolldownOptions: {
      // "use client" means nothing here, and a hundred packages say it.
      onLog: (level, log, handle) => log.code === 'MODULE_LEVEL_DIRECTIVE' || handle(level, log),
    },
  },
});
