// kube-network-policies enforces NetworkPolicies on a node, as a service beside the kubelet.
//
// The command of sigs.k8s.io/kube-network-policies runs only in a pod: it reads its credentials from a service account,
// and it cannot report its health. This command gives the same controller a kubeconfig and a health endpoint.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	nodeutil "k8s.io/component-helpers/node/util"
	"k8s.io/klog/v2"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

const (
	table  = "kube-network-policies"
	queue  = 100
	queues = "/proc/net/netfilter/nfnetlink_queue"
)

func main() {
	klog.InitFlags(nil)
	kubeconfig := flag.String("kubeconfig", "", "Path of the kubeconfig.")
	hostname := flag.String("hostname-override", "", "Name of the node. The default is the host name.")
	health := flag.String("health-bind-address", "127.0.0.1:9080", "Address of the health endpoint.")
	flag.Parse()
	if err := run(*kubeconfig, *hostname, *health); err != nil {
		klog.ErrorS(err, "cannot enforce NetworkPolicies")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
}

// run returns only with an error. A signal ends the process at once, so that the rules stay: while no process answers
// for the packets of isolated pods, the kernel drops them.
func run(kubeconfig, hostname, health string) error {
	node, err := nodeutil.GetHostname(hostname)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	policies := factory.Networking().V1().NetworkPolicies()
	namespaces := factory.Core().V1().Namespaces()
	pods := factory.Core().V1().Pods()
	controller, err := networkpolicy.NewController(
		client, policies, namespaces, pods, nil, nil, nil, nil,
		networkpolicy.Config{
			NodeName:    node,
			QueueID:     queue,
			NFTableName: table,
			// Linux before 6.12 can lose one of two DNS queries that a pod sends at once
			// (https://bugzilla.netfilter.org/show_bug.cgi?id=1766).
			NetfilterBug1766Fix: true,
		},
	)
	if err != nil {
		return err
	}
	synced := map[string]cache.InformerSynced{
		"NetworkPolicies": policies.Informer().HasSynced,
		"namespaces":      namespaces.Informer().HasSynced,
		"pods":            pods.Informer().HasSynced,
	}
	ended := make(chan error)
	go func() { ended <- serveHealth(health, synced) }()
	go func() { ended <- errors.Join(controller.Run(context.Background()), errors.New("the controller ended")) }()
	factory.Start(nil)
	return <-ended
}

// serveHealth answers /healthz with 200 if policies are enforced, and otherwise with 503 and the reason.
func serveHealth(address string, synced map[string]cache.InformerSynced) error {
	http.HandleFunc("/healthz", func(response http.ResponseWriter, _ *http.Request) {
		if err := problem(synced); err != nil {
			http.Error(response, err.Error(), http.StatusServiceUnavailable)
		} else {
			fmt.Fprintln(response, "ok")
		}
	})
	return http.ListenAndServe(address, nil)
}

// problem returns the reason why policies are not enforced, or nil. The controller itself only logs that it could not
// write its rules.
func problem(synced map[string]cache.InformerSynced) error {
	for name, hasSynced := range synced {
		if !hasSynced() {
			return fmt.Errorf("the API server has not listed the %s yet", name)
		}
	}
	connection, err := nftables.New()
	if err != nil {
		return err
	}
	if _, err := connection.ListTableOfFamily(table, nftables.TableFamilyINet); err != nil {
		return fmt.Errorf("nftables has no table inet %s: %w", table, err)
	}
	return findQueue()
}

// findQueue returns an error if the kernel gives no process the packets of isolated pods.
func findQueue() error {
	file, err := os.Open(queues)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 0 && fields[0] == strconv.Itoa(queue) {
			return nil
		}
	}
	return fmt.Errorf("no process reads queue %d of nfnetlink_queue", queue)
}
