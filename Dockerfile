# The images of Tollgate: one static program each, and nothing else; no shell, no libc, no package to patch.
# `cargo xtask images` builds the programs first and hands over the folder that holds them:
#   docker build --target sidecar --file Dockerfile <folder with the programs>
FROM scratch AS sidecar
COPY tollgate-sidecar /tollgate-sidecar
USER 65532:65532
EXPOSE 8480 8481
ENTRYPOINT ["/tollgate-sidecar"]

FROM scratch AS operator
COPY tollgate-operator /tollgate-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/tollgate-operator"]
