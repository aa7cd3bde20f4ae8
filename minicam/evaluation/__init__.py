"""How well a network labels the frames of a folder: labelled frames, and what the comparison gives."""

from minicam.evaluation.frames import Frame, labelled_frames

__all__ = ["Frame", "labelled_frames"]
