// The conformance suite of sigs.k8s.io/network-policy-api, with options that suit the lab: a kernel without SCTP, and
// denied requests that are waited for no longer than they need.
//
// The suite's own tests are run as they are, but for their SCTP requests, which the build takes out.
package policyapi

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
	"text/template"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "sigs.k8s.io/network-policy-api/apis/v1beta1"
	"sigs.k8s.io/network-policy-api/conformance"
	"sigs.k8s.io/network-policy-api/conformance/tests"
	"sigs.k8s.io/network-policy-api/conformance/utils/config"
	helpers "sigs.k8s.io/network-policy-api/conformance/utils/kubernetes"
	"sigs.k8s.io/network-policy-api/conformance/utils/suite"
)

const (
	baseManifests = "base/manifests.yaml"
	sctpServer    = "SERVE_SCTP_PORT_" // what the environment of agnhost's servers begins with
	firstHostPort = 34345              // of those that servers on the nodes' network listen at, as the suite's own default
)

var (
	kubeconfig = flag.String("kubeconfig", "", "the cluster's administrator")
	image      = flag.String("image", "", "in place of the suite's own agnhost")
	// about nothing but SCTP
	skipped = []string{
		"CNPAdminTierEgressSCTP", "CNPAdminTierIngressSCTP", "CNPBaselineTierEgressSCTP", "CNPBaselineTierIngressSCTP",
	}
)

func TestPolicyAPI(t *testing.T) {
	s := newSuite(t)
	createBase(t, s)
	for _, test := range tests.ConformanceTests {
		t.Run(test.ShortName, func(t *testing.T) {
			if s.SkipTests.Has(test.ShortName) {
				t.Skip("SCTP: the kernel may have none")
			}
			test.Run(t, s)
		})
	}
}

func newSuite(t *testing.T) *suite.ConformanceTestSuite {
	cluster, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	must(t, err)
	cluster.QPS, cluster.Burst = 100, 200
	reader, err := client.New(cluster, client.Options{})
	must(t, err)
	must(t, api.Install(reader.Scheme()))
	clients, err := kubernetes.NewForConfig(cluster)
	must(t, err)
	s := suite.New(suite.Options{
		Client:                     reader,
		ClientSet:                  clients,
		KubeConfig:                 *cluster,
		EnableAllSupportedFeatures: true,
		SkipTests:                  skipped,
		// a denied request takes all of its time, and is made twice
		TimeoutConfig: config.TimeoutConfig{RequestTimeout: time.Second, PokeInterval: 200 * time.Millisecond},
	})
	s.Applier.FS = s.FS
	for port := range 8 {
		s.HostNetworkPorts = append(s.HostNetworkPorts, firstHostPort+port)
	}
	s.Applier.HostNetworkPorts = s.HostNetworkPorts
	return s
}

// createBase does what the suite's Setup does, without the containers that serve SCTP: they never become Ready where the
// kernel has none.
func createBase(t *testing.T, s *suite.ConformanceTestSuite) {
	var namespaces, sets []string
	for _, object := range read(t, render(t, s.HostNetworkPorts)) {
		switch object.GetKind() {
		case "Namespace":
			namespaces = append(namespaces, object.GetName())
		case "StatefulSet":
			sets = append(sets, object.GetName())
			object = withoutSCTP(t, object)
		}
		must(t, s.Client.Create(context.Background(), object))
		t.Cleanup(func() { must(t, client.IgnoreNotFound(s.Client.Delete(context.Background(), object))) })
	}
	helpers.NamespacesMustBeReady(t, s.Client, s.TimeoutConfig, namespaces, sets)
}

func render(t *testing.T, hostPorts []int) io.Reader {
	text, err := conformance.Manifests.ReadFile(baseManifests)
	must(t, err)
	var rendered bytes.Buffer
	values := helpers.TemplateData{HostNetworkPorts: hostPorts}
	must(t, template.Must(template.New(baseManifests).Parse(string(text))).Execute(&rendered, values))
	return &rendered
}

func read(t *testing.T, manifests io.Reader) (objects []*unstructured.Unstructured) {
	decoder := yaml.NewYAMLOrJSONDecoder(manifests, 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return objects
		} else if must(t, err); len(object.Object) != 0 {
			objects = append(objects, object)
		}
	}
}

func withoutSCTP(t *testing.T, object *unstructured.Unstructured) *unstructured.Unstructured {
	var set appsv1.StatefulSet
	must(t, runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &set))
	pod := &set.Spec.Template.Spec
	kept := pod.Containers[:0]
	for _, container := range pod.Containers {
		if len(container.Env) > 0 && strings.HasPrefix(container.Env[0].Name, sctpServer) {
			continue
		}
		if *image != "" {
			container.Image = *image
		}
		kept = append(kept, container)
	}
	pod.Containers = kept
	pod.TerminationGracePeriodSeconds = new(int64)
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&set)
	must(t, err)
	return &unstructured.Unstructured{Object: fields}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
