"""The profiles that come with Triptych, one file each; `triptych.encoders.profiles` reads them."""
