# Lorikeet on the current LTS of Node.js. Every RUN step is a script in tools/docker/, and CI runs each of them in a fresh folder
# as a user without rights.
#
# A container is reached from outside, so it does not start without an API key:
#   docker run -p 8080:8080 -e LORIKEET_API_KEYS="$(openssl rand -hex 24)" lorikeet
#   docker run -p 8080:8080 -v ./keys:/run/secrets/keys:ro -e LORIKEET_API_KEY_FILE=/run/secrets/keys lorikeet
# Where something before it checks who may use it: docker run ... lorikeet serve --no-auth
FROM node:26-slim AS build
WORKDIR /app
COPY tools/docker tools/docker
COPY package.json package-lock.json .npmrc tsconfig.json ./
RUN tools/docker/install.sh
COPY tools/prune-dist.mjs tools/build-page.mjs tools/build-stamp.mjs tools/
COPY src src
COPY web web
RUN tools/docker/build.sh

FROM node:26-slim
WORKDIR /app
COPY --chown=node:node --from=build /app/dist dist
COPY --chown=node:node --from=build /app/node_modules node_modules
COPY --chown=node:node tools/docker tools/docker
COPY --chown=node:node models models
COPY --chown=node:node adapters adapters
COPY --chown=node:node package.json LICENSE README.md ./
ENV NODE_ENV=production LORIKEET_HOST=0.0.0.0 LORIKEET_PORT=8080
ENV LORIKEET_MODEL=models/bookworm-7m,models/digits,models/policy LORIKEET_ADAPTERS=adapters LORIKEET_CACHE_DIR=/tmp/lorikeet
USER node
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["node", "tools/docker/healthcheck.mjs"]
ENTRYPOINT ["node", "dist/src/cli/lorikeet.cjs"]
CMD ["serve"]
