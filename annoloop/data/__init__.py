"""Where bytes lie and how data sets are read and written: stores, images, mmseg folders, COCO, annoloop.yaml."""
