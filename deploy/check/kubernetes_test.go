package check

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const kubernetes = "../kubernetes"

// objects are the rendered objects of an installation. A kind that is not here fails the tests.
type objects struct {
	deployments map[string]*appsv1.Deployment
	jobs        map[string]*batchv1.Job
	services    map[string]*corev1.Service
	secrets     map[string]*corev1.Secret
	namespaces  map[string]*corev1.Namespace
	budgets     map[string]*policyv1.PodDisruptionBudget
	policies    map[string]*networkingv1.NetworkPolicy
	monitors    map[string]*monitoringv1.PodMonitor
}

func newObjects() *objects {
	return &objects{
		deployments: map[string]*appsv1.Deployment{}, jobs: map[string]*batchv1.Job{}, services: map[string]*corev1.Service{},
		secrets: map[string]*corev1.Secret{}, namespaces: map[string]*corev1.Namespace{}, budgets: map[string]*policyv1.PodDisruptionBudget{},
		policies: map[string]*networkingv1.NetworkPolicy{}, monitors: map[string]*monitoringv1.PodMonitor{},
	}
}

// render adds what a kustomization makes. Fields that the API does not have fail the test.
func (o *objects) render(t *testing.T, dir string) {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(kubernetes, dir))
	require.NoError(t, err)
	require.Positive(t, made.Size())
	for _, resource := range made.Resources() {
		text, err := resource.AsYAML()
		require.NoError(t, err)
		switch id := resource.CurId().Gvk.String(); id {
		case "Deployment.v1.apps":
			decode(t, text, o.deployments)
		case "Job.v1.batch":
			decode(t, text, o.jobs)
		case "Service.v1.[noGrp]":
			decode(t, text, o.services)
		case "Secret.v1.[noGrp]":
			decode(t, text, o.secrets)
		case "Namespace.v1.[noGrp]":
			decode(t, text, o.namespaces)
		case "PodDisruptionBudget.v1.policy":
			decode(t, text, o.budgets)
		case "NetworkPolicy.v1.networking.k8s.io":
			decode(t, text, o.policies)
		case "PodMonitor.v1.monitoring.coreos.com":
			decode(t, text, o.monitors)
		default:
			require.Fail(t, "unknown kind", "%s in %s: decode it here, too", id, dir)
		}
	}
}

// object is a pointer to a type of the API.
type object[T any] interface {
	*T
	runtime.Object
	metav1.Object
}

func decode[T any, P object[T]](t *testing.T, text []byte, into map[string]P) {
	t.Helper()
	value := P(new(T))
	require.NoError(t, yaml.UnmarshalStrict(text, value), "%s", text)
	require.NotContains(t, into, value.GetName())
	into[value.GetName()] = value
}

// installation renders what an installation applies, in its order.
func installation(t *testing.T) *objects {
	t.Helper()
	o := newObjects()
	for _, dir := range []string{"example/setup", "example/migrate", "example/workers"} {
		o.render(t, dir)
	}
	return o
}

// The kustomizations render to what the API has, with and without the example around them.
func TestKustomizationsRender(t *testing.T) {
	t.Parallel()
	o := newObjects()
	o.render(t, "base")
	o.render(t, "migrate")
	require.Contains(t, o.deployments, "iuworker")
	require.Contains(t, o.jobs, "iuworker-migrate")
	require.Contains(t, o.services, "iuworker")
	require.Contains(t, o.budgets, "iuworker")
	require.Contains(t, o.policies, "iuworker")

	o = installation(t)
	worker := o.deployments["iuworker"].Spec.Template.Spec.Containers[0]
	require.Equal(t, worker.Image, o.jobs["iuworker-migrate"].Spec.Template.Spec.Containers[0].Image, "one release at a time")
	require.NotEqual(t, "iuworker", worker.Image, "the example names a registry")
	require.Contains(t, worker.Env, corev1.EnvVar{Name: "IUWORKER_ENVIRONMENT", Value: "production"})
	require.Contains(t, o.monitors, "iuworker")
}

// Every manifest is a resource of some kustomization.
func TestEveryManifestIsUsed(t *testing.T) {
	t.Parallel()
	var used, present []string
	require.NoError(t, filepath.WalkDir(kubernetes, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if entry.Name() != "kustomization.yaml" {
			present = append(present, path)
			return nil
		}
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		var k struct{ Resources []string }
		require.NoError(t, yaml.Unmarshal(text, &k))
		for _, resource := range k.Resources {
			if strings.HasSuffix(resource, ".yaml") {
				used = append(used, filepath.Join(filepath.Dir(path), resource))
			}
		}
		return nil
	}))
	slices.Sort(used)
	slices.Sort(present)
	require.Equal(t, used, present)
}

// Selectors, ports and namespaces agree: a Service, a budget, a policy or a monitor that selects nothing is accepted in silence.
func TestManifestsAgree(t *testing.T) {
	t.Parallel()
	o := installation(t)
	deployment, job := o.deployments["iuworker"], o.jobs["iuworker-migrate"]
	worker, migrate := labels.Set(deployment.Spec.Template.Labels), labels.Set(job.Spec.Template.Labels)
	selectsWorkers := func(selector *metav1.LabelSelector) {
		t.Helper()
		selects, err := metav1.LabelSelectorAsSelector(selector)
		require.NoError(t, err)
		require.False(t, selects.Empty())
		require.True(t, selects.Matches(worker), selects)
		require.False(t, selects.Matches(migrate), "the migration is no worker: %s", selects)
	}
	service, budget, network, monitor := o.services["iuworker"], o.budgets["iuworker"], o.policies["iuworker"], o.monitors["iuworker"]
	selectsWorkers(deployment.Spec.Selector)
	selectsWorkers(&metav1.LabelSelector{MatchLabels: service.Spec.Selector})
	selectsWorkers(budget.Spec.Selector)
	selectsWorkers(&network.Spec.PodSelector)
	selectsWorkers(&monitor.Spec.Selector)
	for _, spread := range deployment.Spec.Template.Spec.TopologySpreadConstraints {
		selectsWorkers(spread.LabelSelector)
	}

	container := deployment.Spec.Template.Spec.Containers[0]
	require.Len(t, container.Ports, 1)
	port := container.Ports[0].Name
	require.Equal(t, port, service.Spec.Ports[0].TargetPort.StrVal)
	require.Equal(t, port, network.Spec.Ingress[0].Ports[0].Port.StrVal)
	require.Equal(t, port, *monitor.Spec.PodMetricsEndpoints[0].Port)
	require.Equal(t, port, container.LivenessProbe.HTTPGet.Port.StrVal)
	require.Equal(t, port, container.ReadinessProbe.HTTPGet.Port.StrVal)

	require.Len(t, o.namespaces, 1)
	for _, named := range []metav1.Object{deployment, job, service, budget, network, monitor} {
		require.Contains(t, o.namespaces, named.GetNamespace(), named.GetName())
	}
	for name, secret := range o.secrets {
		require.Contains(t, o.namespaces, secret.Namespace, name)
	}
}

// Each file that a container reads is a key of the Secret that it mounts, and so is what Prometheus sends.
func TestManifestsReadSecretsThatExist(t *testing.T) {
	t.Parallel()
	o := installation(t)
	for name, pod := range map[string]corev1.PodSpec{
		"worker": o.deployments["iuworker"].Spec.Template.Spec, "migrate": o.jobs["iuworker-migrate"].Spec.Template.Spec,
	} {
		require.Len(t, pod.Volumes, 1, name)
		secret := o.secrets[pod.Volumes[0].Secret.SecretName]
		require.NotNil(t, secret, "%s mounts %s", name, pod.Volumes[0].Secret.SecretName)
		mount := pod.Containers[0].VolumeMounts[0]
		require.Equal(t, pod.Volumes[0].Name, mount.Name)
		require.Empty(t, mount.SubPath, "a file that is mounted by subPath is never updated")
		var read []string
		for _, variable := range pod.Containers[0].Env {
			if strings.HasSuffix(variable.Name, "_FILE") {
				require.Equal(t, mount.MountPath, filepath.Dir(variable.Value))
				read = append(read, filepath.Base(variable.Value))
			}
		}
		var held []string
		for key := range secret.StringData {
			held = append(held, key)
		}
		require.ElementsMatch(t, held, read, name)
	}
	token := o.monitors["iuworker"].Spec.PodMetricsEndpoints[0].Authorization.Credentials
	require.Equal(t, "iuworker", token.Name)
	require.Contains(t, o.secrets[token.Name].StringData, token.Key)
	require.Contains(t, o.deployments["iuworker"].Spec.Template.Spec.Containers[0].Env,
		corev1.EnvVar{Name: "IUWORKER_METRICS_TOKEN_FILE", Value: "/etc/iuworker/" + token.Key})
}

// The pods pass the strictest of Kubernetes' pod security standards, which the example's namespace enforces.
func TestPodsAreRestricted(t *testing.T) {
	t.Parallel()
	o := installation(t)
	require.Equal(t, string(api.LevelRestricted), o.namespaces["iuworker"].Labels[api.EnforceLevelLabel])
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	require.NoError(t, err)
	for _, pod := range []*corev1.PodTemplateSpec{&o.deployments["iuworker"].Spec.Template, &o.jobs["iuworker-migrate"].Spec.Template} {
		results := evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec)
		total := policy.AggregateCheckResults(results)
		require.True(t, total.Allowed, total.ForbiddenDetail())
		require.True(t, *pod.Spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem)
		require.False(t, *pod.Spec.AutomountServiceAccountToken)
	}
}
