"""The Mage project: pipelines, triggers, and the blocks, which are a few lines each around ``etl.mage.blocks``."""
