# The S3 server of the sample application, for demos and tests only: a program built by hack/tool.
FROM docker.io/library/debian:trixie-slim
LABEL org.opencontainers.image.title="versitygw, an S3 server" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY versitygw /usr/local/bin/versitygw
USER 65532:65532
ENTRYPOINT ["versitygw"]
