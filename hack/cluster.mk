# The local cluster, included by the Makefile.
CLUSTER ?= holdfast
CLUSTER_KUBECONFIG := $(CURDIR)/.cluster/kubeconfig

.PHONY: tools cluster cluster-down

tools: ## Build the programs that hack/tools pins (cached outside the checkout)
	@hack/prerequisites
	@hack/tool etcd kube-apiserver coredns provisioner kubectl helm versitygw >/dev/null

cluster: ## Make the local Kubernetes cluster, and write .cluster/kubeconfig
	@hack/prerequisites
	@mkdir -p $(dir $(CLUSTER_KUBECONFIG))
	@kind=$$(hack/choose-kind); \
	if $$kind get clusters 2>/dev/null | grep -qx '$(CLUSTER)'; then \
		$$kind export kubeconfig --name $(CLUSTER) --kubeconfig $(CLUSTER_KUBECONFIG) && \
		echo "Cluster $(CLUSTER) is running already."; \
	else \
		$$kind create cluster --name $(CLUSTER) --kubeconfig $(CLUSTER_KUBECONFIG) --wait 2m; \
	fi
	@echo "To use it: export KUBECONFIG=$(CLUSTER_KUBECONFIG)"

cluster-down: ## Delete the local cluster and everything of it
	@$$(hack/choose-kind) delete cluster --name $(CLUSTER) --kubeconfig $(CLUSTER_KUBECONFIG)
	@rm -rf $(dir $(CLUSTER_KUBECONFIG))
