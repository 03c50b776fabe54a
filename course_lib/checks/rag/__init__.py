"""Checks of lesson 10; `tests/answers/rag/` holds the answers that prove them."""

from course_lib.checks.rag.citations import check_citations
from course_lib.checks.rag.clinic import test_filtered_search, top_k_where
from course_lib.checks.rag.fusion import reciprocal_rank_fusion
from course_lib.checks.rag.prompts import build_prompt
from course_lib.checks.rag.ranking import ndcg
from course_lib.checks.rag.repetition import mmr
from course_lib.checks.rag.splitting import cut
from course_lib.checks.rag.vectors import cosine_of_relevance, nearest
from course_lib.checks.rag.words import bm25_scores

__all__ = [
    "bm25_scores",
    "build_prompt",
    "check_citations",
    "cosine_of_relevance",
    "cut",
    "mmr",
    "ndcg",
    "nearest",
    "reciprocal_rank_fusion",
    "test_filtered_search",
    "top_k_where",
]
