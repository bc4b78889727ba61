"""An index of somebody else's: inspect it, attach it, fill our fields in it, keep up with its owner, and leave it again."""
