"""The kinds of steps that pipelines may have."""

from gristmill.bootstrap.images import EXTRA, IMAGE_STEPS, Images
from gristmill.core.config import Settings
from gristmill.embeddings.registry import EmbedderRegistry
from gristmill.transforms.registry import StepRegistry
from gristmill.transforms.secrets import read_secrets
from gristmill.transforms.steps.cast import CAST
from gristmill.transforms.steps.chunk_text import chunk_text_kind
from gristmill.transforms.steps.clip import CLIP
from gristmill.transforms.steps.cumulative import CUMULATIVE
from gristmill.transforms.steps.derive import DERIVE
from gristmill.transforms.steps.diff import DIFF
from gristmill.transforms.steps.drop import DROP
from gristmill.transforms.steps.drop_duplicates import DROP_DUPLICATES
from gristmill.transforms.steps.ewm import EWM
from gristmill.transforms.steps.explode import EXPLODE
from gristmill.transforms.steps.fill import FILL
from gristmill.transforms.steps.filter import FILTER
from gristmill.transforms.steps.group import GROUP
from gristmill.transforms.steps.json_extract import JSON_EXTRACT
from gristmill.transforms.steps.lag import LAG
from gristmill.transforms.steps.map import MAP
from gristmill.transforms.steps.melt import MELT
from gristmill.transforms.steps.normalise import NORMALISE
from gristmill.transforms.steps.pivot import PIVOT
from gristmill.transforms.steps.pseudonymise import pseudonymise_kind
from gristmill.transforms.steps.rename import RENAME
from gristmill.transforms.steps.resample import RESAMPLE
from gristmill.transforms.steps.rolling import ROLLING
from gristmill.transforms.steps.sample import SAMPLE
from gristmill.transforms.steps.select import SELECT
from gristmill.transforms.steps.sort import SORT
from gristmill.transforms.steps.split import SPLIT
from gristmill.transforms.steps.text_clean import TEXT_CLEAN


def build_steps(settings: Settings, embedders: EmbedderRegistry, images: Images | None) -> StepRegistry:
    """Return the registry. What steps need beside their batch becomes arguments of their kinds here.

    images: None where its steps are not installed.
    """
    plain = (
        CAST,
        CLIP,
        CUMULATIVE,
        DERIVE,
        DIFF,
        DROP,
        DROP_DUPLICATES,
        EWM,
        EXPLODE,
        FILL,
        FILTER,
        GROUP,
        JSON_EXTRACT,
        LAG,
        MAP,
        MELT,
        NORMALISE,
        PIVOT,
        RENAME,
        RESAMPLE,
        ROLLING,
        SAMPLE,
        SELECT,
        SORT,
        SPLIT,
        TEXT_CLEAN,
    )
    secrets = read_secrets(settings.transforms_secrets)
    of_images = () if images is None else images.step_kinds()
    extras = dict.fromkeys(IMAGE_STEPS, EXTRA) if images is None else {}
    return StepRegistry((*plain, chunk_text_kind(embedders.of_texts), pseudonymise_kind(secrets), *of_images), extras)
