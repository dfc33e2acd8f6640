# One line each: the work is in xtask/. `make help` lists them.
XTASK = cargo xtask

.PHONY: help demo test endurance lint images cluster-up cluster-down bench crd

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: ## the main job on a real cluster, each command shown with its result; KEEP=1 leaves it running
	@KEEP=$(KEEP) $(XTASK) demo

test: ## every test, from units to real pods and a real browser; KEEP=1 leaves the cluster
	@KEEP=$(KEEP) $(XTASK) test

endurance: ## the sidecar under load and faults for about an hour
	@$(XTASK) endurance

lint: ## formatting, clippy, dependency rules, chart
	@$(XTASK) lint

images: ## build the images
	@$(XTASK) images

cluster-up: ## start the local cluster
	@$(XTASK) cluster up

cluster-down: ## end the local cluster and remove all that it made
	@$(XTASK) cluster down

bench: ## the sidecar beside its anchors
	@$(XTASK) bench

crd: ## write the custom resource definition anew
	@$(XTASK) crd
