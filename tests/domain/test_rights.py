"""A refusal of the API server for want of a right, in words."""

from holdfast.domain.rights import in_words

ACCOUNT = "system:serviceaccount:holdfast:holdfast"
HEAD = f'jobs.batch is forbidden: User "{ACCOUNT}" cannot create resource "jobs" in API group "batch" '


def test_a_missing_right_is_named_with_the_way_to_grant_it() -> None:
    assert in_words(HEAD + 'in the namespace "shop"') == (
        f"jobs.batch is forbidden: {ACCOUNT} may not create jobs.batch in namespace shop. Grant it by `helm "
        "upgrade` of the chart with rbac.create=true (with shop in watchNamespaces, if you set it). "
        f"Check it by `kubectl auth can-i create jobs.batch -n shop --as={ACCOUNT}`"
    )


def test_a_subresource_and_the_whole_cluster_are_asked_for_as_kubectl_wants_it() -> None:
    refusal = f'x is forbidden: User "{ACCOUNT}" cannot update resource "pods/exec" in API group "" at the '
    said = in_words(refusal + 'cluster scope: RBAC: role "x" not found')
    assert f"{ACCOUNT} may not update pods/exec in the whole cluster." in said
    assert f"`kubectl auth can-i update pods --subresource=exec -A --as={ACCOUNT}`" in said
    assert said.endswith(': RBAC: role "x" not found')
    assert "watchNamespaces" not in said


def test_what_a_quota_refuses_is_no_missing_right() -> None:
    refusal = 'jobs.batch "x" is forbidden: exceeded quota: few, requested: count/jobs.batch=1'
    assert in_words(refusal) == refusal
