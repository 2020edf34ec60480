#!/bin/bash
# Runs nginx behind a Service, and checks whom a NetworkPolicy lets reach it; scales it.
#   demo.sh [NODE...]  as root, on the control plane; waits for these nodes first.  Again, it checks the same again
set -euo pipefail
export KUBECONFIG=/etc/kubernetes/admin.conf

for node in "$@"; do
	until kubectl get node "$node" >/dev/null 2>&1; do
		((SECONDS < 1800)) || { echo "demo.sh: node $node has not joined; see journalctl -u kubeadm-join there" >&2; exit 1; }
		sleep 5
	done
done
kubectl wait --for=condition=Ready nodes --all --timeout=10m
kubectl --namespace kube-system rollout status deployment/coredns --timeout=10m

# what an earlier run left
kubectl delete networkpolicy access-nginx --ignore-not-found
kubectl delete pod access other --ignore-not-found

if ! kubectl get deployment nginx >/dev/null 2>&1; then
	kubectl create deployment nginx --image=nginx:1.27 --replicas=2
fi
if ! kubectl get service nginx >/dev/null 2>&1; then
	kubectl expose deployment nginx --port=80
fi
kubectl rollout status deployment/nginx --timeout=10m
kubectl run access --image=busybox:1.36 --rm --attach --restart=Never -- wget -q -T 30 -O - http://nginx
kubectl run other --image=busybox:1.36 --rm --attach --restart=Never -- wget -q -T 5 -O - http://nginx

kubectl apply -f - <<'END'
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: access-nginx
spec:
  podSelector:
    matchLabels:
      app: nginx
  ingress:
    - from:
        - podSelector:
            matchLabels:
              run: access
END
kubectl run access --image=busybox:1.36 --rm --attach --restart=Never -- wget -q -T 30 -O - http://nginx
if said=$(
	exec 2>&1
	kubectl run other --image=busybox:1.36 --rm --attach --restart=Never -- wget -q -T 5 -O - http://nginx
); then
	echo "demo.sh: the policy does not keep the pod 'other' from nginx" >&2
	exit 1
fi
# what was dropped, and not a pod that could not be made
[[ $said == *"timed out"* ]] || { echo "demo.sh: the pod 'other' should have waited in vain: $said" >&2; exit 1; }

kubectl scale deployment nginx --replicas=4
kubectl rollout status deployment/nginx --timeout=10m
kubectl get pods --output=wide --selector=app=nginx
kubectl run access --image=busybox:1.36 --rm --attach --restart=Never -- wget -q -T 30 -O - http://nginx
echo "demo.sh: 'access' reaches nginx, 'other' does not"
