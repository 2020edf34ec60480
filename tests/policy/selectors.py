"""Label selectors, as the API's documentation of LabelSelector says."""

from collections.abc import Mapping

from tests.policy.facts import Object, World, labels, namespace_labels


def selects(selector: Object, held: Mapping[str, str]) -> bool:
    """Whether every requirement holds; a selector without requirements selects everything."""
    return all(held.get(key) == value for key, value in (selector.get("matchLabels") or {}).items()) and all(
        _holds(requirement, held) for requirement in selector.get("matchExpressions") or ()
    )


def selects_namespace(world: World, selector: Object, name: str) -> bool:
    """Whether the namespace of this name is there and is selected."""
    held = namespace_labels(world, name)
    return held is not None and selects(selector, held)


def selects_pod(world: World, namespaces: Object, pods: Object, pod: Object) -> bool:
    """Whether both selectors hold: one for the pod's namespace, one for the pod."""
    return selects_namespace(world, namespaces, pod["metadata"]["namespace"]) and selects(pods, labels(pod))


def _holds(requirement: Object, held: Mapping[str, str]) -> bool:
    """Whether one requirement holds; NotIn holds also for what has no such label."""
    key, values = requirement["key"], requirement.get("values") or ()
    match requirement["operator"]:
        case "In":
            return key in held and held[key] in values
        case "NotIn":
            return key not in held or held[key] not in values
        case "Exists":
            return key in held
        case "DoesNotExist":
            return key not in held
        case other:
            raise ValueError(f"the API has no operator {other}")
