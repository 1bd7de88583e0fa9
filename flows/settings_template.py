"""What ``changeover init`` writes into ``changeover.yaml``: every line a comment."""

TEMPLATE = """\
# Settings of this plant. Every line is optional; what is commented out shows the default or an example.

#storage:
#  remote: .changeover/store       # where DVC keeps images and models: a folder, or s3://bucket/prefix
#  publish: published              # the folder from which the line reads its champions

#servers:                          # both listen on 127.0.0.1; the next free port is taken where one is in use
#  mlflow_port: 5000
#  prefect_port: 4200

#registry:
#  database: postgresql://changeover@db.example/changeover   # instead of SQLite; the password goes into ~/.pgpass or PGPASSWORD
#  workers: 4                      # processes that answer, 1 to 32; more than 1 pays with PostgreSQL
#  trusted_proxy: 127.0.0.1        # a proxy whose word on a client's address is written into the trail; nobody's by default
#  limits:                         # of each process, against whoever keeps it busy
#    body_mib: 16                  # longest body of a request, and
#    artifact_mib: 8192            # that of one that writes an artifact
#    head_seconds: 15              # time for a request's head,
#    silence_seconds: 30           # for the next part of a body,
#    body_seconds: 60              # and for a whole body that is no artifact's
#    connections: 256              # open at once

#audit:                            # the trail's head is committed to this repository, and also written where nobody can delete it
#  s3: s3://bucket/prefix          # a bucket with object lock
#  retain_days: 3650

#signature: strict                # signatures on the review page alone, after the report was opened; else also by tag and command

#preset: standard                  # quick (4 minutes of training), standard (6) or thorough (60)
#budget: 8m                        # time for tuning and training together, instead of the preset's
# The stages' sections (validate, recipe, tune, train, evaluate) may stand here, too, and for one product alone in
# products/<product>/product.yaml; 'changeover settings' lists all settings, docs/settings.md says what they mean.
#overkill_target: 0.05             # share of good parts that may be rejected
#gates:                            # limits a candidate must keep
#  image_auroc: 0.8                # least separation of good images and pseudo-defects
#  easy_escape: 0.2                # largest share of easy pseudo-defects that may pass
#  not_judged: 0.1                 # largest share of calibration images that may be left not judged
#  champion_slack: 0.1             # how much worse than the champion overkill or escape may be

#teacher: plant                    # whose features changeovers build on: a teacher's name (imagenet until there is one), or
#                                  # name@version, or none
#teachers:                         # the teacher trained here, from the good images of all products, while the line runs
#  cron: "0 2 * * 0"               # Sundays at two; null for never
#  recipe: self-supervised         # or pseudo-defects
#  budget: 30m
#  name: plant

#products:
#  bolt-m6:
#    images: /mnt/camera/bolt-m6   # folder of good images for scheduled changeovers
#    cron: "0 6 * * 1"             # minute hour day month weekday, local time: Mondays at six
#    preset: thorough
#    budget: 30m
#    warm_start: same              # start from this product's champion, or from the champion of the product that is named
"""
