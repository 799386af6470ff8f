"""qetags against the published values, the official SDK, and whatever chunks the content comes in."""

import warnings
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiniu.utils import etag_stream

from mirrord.kodo.etag import BLOCK_BYTES, Etag, etag_of, etag_v2, is_v1

MIB = 1024 * 1024
COUNTING = bytes(range(256)) * (10 * MIB // 256)
"""Byte i is i mod 256."""

VERSION_1 = [
    pytest.param(b"", "Fto5o-5ea0sNMlW_75VgGJCv2AcJ", id="empty"),
    pytest.param(b"\0", "FlupPJ2wz_k_UrUh10IOQ_btonhP", id="one-zero-byte"),
    pytest.param(b"a", "Fob35Df6paf84V0d3Lnq6uo3dme4", id="a"),
    pytest.param(b"hello", "Fqr0xh3cxeii2r7eDztILNmuqUNN", id="hello"),
    pytest.param(b"hello\n", "FvVy05b66SBmKHFPss4A9y6U8iWP", id="hello-line-feed"),
    pytest.param(b"etag", "FpLiADEaVoALPkdb8tJEJyRTXoe_", id="etag"),
    pytest.param(bytes(4 * MIB - 1), "FojtiN9WHTdzhzAV4wrBC76RaWV0", id="a-byte-below-one-block"),
    pytest.param(bytes(4 * MIB), "FivMvS848VwT631aif2dhfWV4jvD", id="exactly-one-block"),
    pytest.param(bytes(4 * MIB + 1), "lhCFgki5yzon0rjN9uJusf6qtsF6", id="a-byte-above-one-block"),
    pytest.param(bytes(8 * MIB), "lsCVE24-Immdd6zm-ffVVhsWYcDG", id="two-blocks"),
    pytest.param(bytes(8 * MIB + 1), "ljw1EdDAXqxjBRbylrCwR_xmDXdU", id="a-byte-above-two-blocks"),
    pytest.param(COUNTING[: 4 * MIB], "FtaXAk7ZP_YlMw0FA5Gt6ZzVy92t", id="counting-one-block"),
    pytest.param(COUNTING[: 4 * MIB + 1], "lvZaaqqoPggoRo61yE2jdqWTRxML", id="counting-a-byte-above"),
    pytest.param(COUNTING, "lses1QB42AFdwbOIpfyl83Ve0c2g", id="counting-ten-mib"),
]


@pytest.mark.parametrize(("content", "value"), VERSION_1)
def test_content_has_the_published_qetag(content: bytes, value: str) -> None:
    assert etag_of([content]) == value
    assert is_v1(value)


@pytest.mark.parametrize(("content", "value"), VERSION_1)
def test_the_official_sdk_computes_the_same(content: bytes, value: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it cannot do version 2, and says so
        assert etag_stream(BytesIO(content)) == value


@pytest.mark.parametrize(
    ("sizes", "value"),
    [
        pytest.param([MIB, MIB], "njrefZHapEMPsMusf006i_J0zpnN", id="1+1"),
        pytest.param([5 * MIB, 5 * MIB], "nugerYXND7JvDgFyykxUVBGEcvNv", id="5+5"),
        pytest.param([5 * MIB], "nmb5sfTmrU3YV2QQ-IXQbaET7AIU", id="5"),
        pytest.param([4 * MIB, 4 * MIB], "lvfFX88CA4Zj-SHFf7pOcuSoG_3j", id="4+4-is-version-1"),
    ],
)
def test_content_uploaded_in_parts_has_the_published_qetag(sizes: list[int], value: str) -> None:
    starts = [sum(sizes[:index]) for index in range(len(sizes))]

    parts = [[COUNTING[start : start + size]] for start, size in zip(starts, sizes, strict=True)]

    assert etag_v2(parts) == value
    assert is_v1(value) is value.startswith("l")


@pytest.mark.parametrize("size", [0, 1, MIB, 4 * MIB, 4 * MIB + 1, 9 * MIB])
def test_parts_of_one_block_give_the_qetag_of_the_whole(size: int) -> None:
    content = COUNTING[:size]

    parts = [[content[start : start + BLOCK_BYTES]] for start in range(0, size, BLOCK_BYTES)]

    assert etag_v2(parts) == etag_of([content])


@given(st.lists(st.binary(max_size=50)))
def test_how_small_content_is_cut_does_not_matter(chunks: list[bytes]) -> None:
    assert etag_of(chunks) == etag_of([b"".join(chunks)])


@pytest.mark.parametrize("step", [65_536, 3 * MIB + 1, BLOCK_BYTES, 9 * MIB])
def test_how_large_content_is_cut_does_not_matter(step: int) -> None:
    chunks = [COUNTING[start : start + step] for start in range(0, len(COUNTING), step)]

    assert etag_of(chunks) == "lses1QB42AFdwbOIpfyl83Ve0c2g"


def test_a_value_may_be_read_on_the_way() -> None:
    etag = Etag()
    etag.update(COUNTING[: 8 * MIB])

    halfway = etag.value()
    etag.update(COUNTING[8 * MIB :])

    assert halfway == "lvfFX88CA4Zj-SHFf7pOcuSoG_3j"
    assert etag.value() == "lses1QB42AFdwbOIpfyl83Ve0c2g"
    assert etag.size_bytes == 10 * MIB


@pytest.mark.parametrize("text", ["", "F", "nugerYXND7JvDgFyykxUVBGEcvNv", "Fto5o-5ea0sNMlW_75VgGJCv2Ac", "é" * 28])
def test_what_does_not_follow_from_the_content_is_not_version_1(text: str) -> None:
    assert not is_v1(text)
