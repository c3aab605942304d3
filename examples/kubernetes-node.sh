#!/bin/sh
# Lesson 14.
# Two nodes of a cluster: netcord is the CNI plugin that the kubelet's runtime calls for each pod, and
# the overlay network between the nodes.
. "$(dirname "$0")/lesson"
. "$(dirname "$0")/show"
. "$(dirname "$0")/two-hosts"

say 'etcd runs on the first node, and each node gets a part of the pods'\'' addresses.'
. "$(dirname "$0")/etcd"
run on one overlay pods --store $store --subnet 10.5.0.0/16
run on two overlay pods --store $store

say 'On each node, /etc/cni/net.d/10-netcord.conflist is the same file. It names the network, and no address:'
cat <<'END'
{
  "cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"], "name": "cluster",
  "plugins": [
    {"type": "netcord", "network": "pods", "hairpinMode": true,
     "capabilities": {"portMappings": true, "ips": true, "mac": true}}
  ]
}
END

# What containerd and CRI-O pass on: the plugin's part, with name and version, and the pod's ports.
config='{"cniVersion":"1.0.0","name":"cluster","type":"netcord","network":"pods","hairpinMode":true'
with_port="$config,\"runtimeConfig\":{\"portMappings\":[{\"HostPort\":8080,\"ContainerPort\":80,\"Protocol\":\"tcp\"}]}}"

# cni OPERATION NODE POD CONFIG: calls the plugin, as the runtime of a node does.
cni() {
    show "CNI_COMMAND=$1 CNI_CONTAINERID=$3 CNI_NETNS=/var/run/netns/$3 CNI_IFNAME=eth0 netcord <config"
    printf %s "$4" | CNI_COMMAND=$1 CNI_CONTAINERID=$3 CNI_NETNS=/var/run/netns/$3 CNI_IFNAME=eth0 \
        CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=$3" \
        at "$2" netcord
}

say 'The runtime makes the namespace of a pod (its sandbox), and calls the plugin: ADD.'
run netcord none web
cni ADD one web "$with_port"
run netcord none db
result=$(cni ADD two db "$config}")
printf '%s\n' "$result"
there=$(printf %s "$result" | sed -n 's/.*"address":"\([0-9.]*\)\/.*/\1/p')

say 'Pods reach each other by their own addresses, over both nodes.'
tries=0
until on one peers pods | grep -q ' ok'; do
    [ "$((tries += 1))" -le 100 ] || fail 'the other node did not appear'
    sleep 0.1
done
expect ' 0% packet loss' netcord container web -- ping -c 1 -W 5 "$there"

say 'netcord knows the pods by their names, and leaves them to the runtime.'
expect default.web on one ps
refuse on one detach pods web

say 'CHECK compares a pod with what ADD made, and names what is missing.'
cni CHECK one web "$with_port"
run ip -n web route delete default
refuse cni CHECK one web "$with_port"

say 'DEL removes all of it. It can come twice, or when the namespace has gone.'
cni DEL one web "$with_port"
cni DEL one web "$with_port"
run netcord rm netns:db
cni DEL two db "$config}"
nothing on one ps --quiet
nothing on two ps --quiet

run on one rm pods
run on two rm pods
run netcord rm netns:web
kill "$etcd"

answer 'What of this does the kubelet know?' \
    'Nothing but the conflist'\''s folder: it asks the runtime for a sandbox, and the runtime calls the plugin. The pod'\''s address comes back with the result of ADD.'
